"""What /health says, twice, as an observation."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bellrelay.control.fault_from_status import (
    block_reading,
    endpoint_reading,
    kme_reading,
    measured_intensities,
    relay_reading,
    with_arms,
)
from bellrelay.control.fault_observation import RelayReading
from bellrelay.endpoint.block import BlockId, BlockState, Cause
from bellrelay.endpoint.block_store import BlockRow
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
    assert endpoint_reading(
        breached, {**breached, "relay": {"connected": False}}, 1
    ).relay_connected
    stuck = endpoint_status(random_health={"alarm": "repetition count"})
    assert endpoint_reading(before, stuck, 1000).random_alarm is True


def test_intensities() -> None:
    def totals(*settings: tuple[str, float, int, float, float | None]) -> list[dict[str, Any]]:
        names = ("setting", "declared", "readings", "sum", "relative_variance")
        return [
            {**dict(zip(names, s, strict=True)), "limit": None if s[1] else 0.001} for s in settings
        ]

    before = totals(("s", 0.4, 100, 40.0, 1e-4), ("nu", 0.05, 100, 5.0, None), ("o", 0, 4, 0, 0.0))
    after = totals(("s", 0.4, 110, 44.2, 1e-4), ("nu", 0.05, 110, 5.5, None), ("o", 0, 8, 0, 0.0))
    s, mu, nu, excess = measured_intensities(before, after)
    assert s is not None
    assert mu is None
    assert nu is None
    # Of the ten readings between alone: a step is seen at once, however long the window is.
    assert s.value == pytest.approx(1.05)
    assert s.sigma == pytest.approx(1.05 * 0.01 / 10.0**0.5)
    assert excess == 0.0
    lit = totals(("o", 0, 8, 0.008, 0.0))
    assert measured_intensities(before, lit)[3] == pytest.approx(2.0)
    # Light that may as well be the noise of readings is none.
    assert measured_intensities(before, totals(("o", 0, 8, 0.008, 4.0)))[3] == 0.0
    assert measured_intensities(after, after) == (None, None, None, None)
    # A laser that is out: nothing at all, known as well as light is.
    dark = measured_intensities(before, totals(("s", 0.4, 110, 40.0, 1e-4)))[0]
    assert dark is not None
    assert (dark.value, dark.sigma) == (0.0, pytest.approx(0.5 * 0.01 / 10.0**0.5))
    # A monitor that was begun anew.
    assert measured_intensities(after, totals(("s", 0.4, 5, 2.0, 1e-4)))[0].value == 1.0  # type: ignore[union-attr]


def test_a_kme() -> None:
    def said(refused: int, fault: str = "") -> dict[str, Any]:
        peer = {"connected": True}
        return {"peer": peer, "not_authorized": refused, "audit": {"fault": fault}}

    reading = kme_reading(said(3), said(9))
    assert (reading.peer_connected, reading.refused, reading.audit_broken) == (True, 6, False)
    assert kme_reading(said(9), said(0)).refused == 0
    assert kme_reading(said(3), said(3, "a line was changed")).audit_broken


def test_a_block_whose_errors_were_not_counted_says_nothing_of_them() -> None:
    def row(record: dict[str, Any], cause: str = "") -> BlockRow:
        return BlockRow(BlockId(1, 2), BlockState.STORED, cause, "", 0, b"", record, 0, 1)

    tally = {"n": [[5] * 4] * 4, "m": [[1] * 4] * 4}
    done = {"tallies": {"psi_minus": tally, "psi_plus": tally}, "sifted_bits": 100}
    counted = block_reading(row({**done, "errors_corrected": 4, "bits_discarded": 10}), 7.0)
    assert (counted.begin_s, counted.sifted, counted.corrected) == (7.0, 90, 4)
    assert counted.n is not None
    assert int(counted.n.sum()) == 160
    failed = block_reading(row(done, str(Cause.RECONCILIATION)), 7.0)
    assert (failed.sifted, failed.corrected, failed.uncorrected) == (0, 0, True)
    assert block_reading(row({}, str(Cause.LISTS_DIFFER)), 7.0).lists_differ
    assert block_reading(row({}, str(Cause.LISTS_DIFFER)), 7.0).n is None


def test_of_several_relays_each_has_its_own() -> None:
    def said(**quarantined: bool) -> dict[str, Any]:
        each = {
            relay: {"connected": not q, "quarantine": {"cause": "duplicate-slot"} if q else None}
            for relay, q in quarantined.items()
        }
        return endpoint_status(
            quarantined=any(quarantined.values()), relays={"active": "b", "each": each}
        )

    before, after = said(a=False, b=False), {**said(a=True, b=False), "alarms": 3}
    of_a = endpoint_reading(before, after, 1000, "a")
    assert (of_a.breaches, of_a.tag_failures, of_a.relay_connected) == (1, 0, True)
    of_b = endpoint_reading(before, after, 1000, "b")
    # The alarm is of the other relay's breach, not of a tag.
    assert (of_b.breaches, of_b.tag_failures) == (0, 0)


@pytest.mark.parametrize(
    ("counts", "looked"),
    [
        ({}, False),
        ({"taken": 0, "unlocked": 0}, False),
        ({"taken": 4}, True),
        ({"unlocked": 2}, True),
    ],
)
def test_whether_light_is_looked_for_is_known_before_it_is_measured(
    counts: dict[str, int], looked: bool
) -> None:
    reading = RelayReading(True, 0.05, 0, 0, (), 0, 0)
    alice = {"tracking": {"measured": 0, "light": None, "counts": counts}}
    seen = with_arms(reading, (alice, None), (alice, None))
    assert seen.tracked == (looked, False)
    assert seen.light == (None, None)
