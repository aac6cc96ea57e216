"""What /health says, twice, as an observation."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bellrelay.control.fault_from_status import (
    endpoint_reading,
    measured_intensities,
    relay_reading,
)
from bellrelay.endpoint.intensity_monitor import SettingState
from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry


def relay_status(scale: int, acquisition: int = 3, **values: Any) -> dict[str, Any]:
    """Counters have the names that boards give them; every one stands at its place times scale."""
    names = [c.name for c in counters(BoardGeometry(n_detectors=2))]
    return {
        "state": "running",
        "acquisition": acquisition,
        "heartbeat_age_s": 0.04,
        "board": {"detectors": 2},
        "counters": {name: scale * (k + 1) for k, name in enumerate(names)},
        "link": {"missing_frames": 2 * scale},
        **values,
    }


def endpoint_status(**values: Any) -> dict[str, Any]:
    return {
        "relay": {"connected": True},
        "peer": {"connected": True},
        "quarantined": False,
        "alarms": 2,
        "key_pool": {"bits": 10_000},
        "random_health": {"alarm": None},
        **values,
    }


def test_counts_are_of_the_time_between() -> None:
    place = {c.name: k + 1 for k, c in enumerate(counters(BoardGeometry(n_detectors=2)))}
    reading = relay_reading(relay_status(1000), relay_status(1100))
    assert reading.running
    assert reading.slots == 100 * place["slots"]
    assert reading.live == reading.slots - 100 * place["slots_not_live"]
    assert reading.psi_plus == 100 * place["announced_psi_plus"]
    assert reading.lost == 200
    not_kept = ("dead_time", "pile_up", "before_start", "misaligned")
    for d, detector in enumerate(reading.detectors):
        kept = place[f"clicks_{d}"] - sum(place[f"{k}_{d}"] for k in not_kept)
        assert detector.clicks == 100 * kept
        assert detector.suppressed == 100 * place[f"dead_time_{d}"]
        assert detector.outside == 100 * place[f"outside_{d}"]


def test_another_acquisition_begins_at_nought() -> None:
    before, after = relay_status(1000), relay_status(7, acquisition=4)
    assert relay_reading(before, after).slots == after["counters"]["slots"]


def test_a_board_that_is_not_there() -> None:
    gone = relay_status(0, state="port missing", board=None, counters={}, heartbeat_age_s=None)
    reading = relay_reading(relay_status(5), gone)
    assert not reading.running
    assert reading.heartbeat_age_s == math.inf
    assert reading.detectors == ()


def test_an_endpoint() -> None:
    before = endpoint_status()
    quiet = endpoint_reading(before, endpoint_status(), 1000)
    assert (quiet.breaches, quiet.tag_failures, quiet.pool_blocks) == (0, 0, 10.0)
    assert quiet.random_alarm is False
    forged = endpoint_reading(before, endpoint_status(alarms=3), 1000)
    assert (forged.breaches, forged.tag_failures) == (0, 1)
    # The breach is one of the alarms; the relay's, not the peer's.
    breached = endpoint_status(alarms=3, quarantined=True)
    first = endpoint_reading(before, breached, 1000)
    assert (first.breaches, first.tag_failures) == (1, 0)
    later = endpoint_reading(breached, breached, 1000)
    assert (later.breaches, later.tag_failures) == (1, 0)
    stuck = endpoint_status(random_health={"alarm": "repetition count"})
    assert endpoint_reading(before, stuck, 1000).random_alarm is True


def test_intensities() -> None:
    def state(setting: str, declared: float, mean: float, fault: str | None = None) -> SettingState:
        return SettingState(setting, declared, 100, mean, 1e-4, 0.01, fault is None, fault)

    s, mu, nu, excess = measured_intensities(
        [state("s", 0.4, 0.42), state("nu", 0.05, 0.05), state("o", 0.0, 1e-5)]
    )
    assert s is not None
    assert mu is None
    assert nu is not None
    assert s.value == pytest.approx(1.05)
    assert s.sigma == pytest.approx(1.05 * 0.01 / 10.0)
    assert excess == 0.0
    assert measured_intensities([state("o", 0.0, 0.1, "o may have 0.1")])[3] == math.inf
    unknown = SettingState("o", 0.0, 0, math.nan, math.nan, math.inf, False, "0 readings of o")
    assert measured_intensities([unknown])[3] is None
