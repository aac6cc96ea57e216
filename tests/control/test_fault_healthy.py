"""A healthy link raises no alarm, whatever counting noise and slow wander do."""

from __future__ import annotations

import pytest
from simulated_link import State
from simulated_statuses import ObservedLink

from bellrelay.control import fault_watch
from bellrelay.control.fault_baseline import measure_baseline
from bellrelay.control.fault_watch import Watch

ETA, WEAK = 0.02, 0.002
"""34 dB and 54 dB between the sources' pulses and coincidences: 970 and 10 outcomes per second."""


def alarms_of_hours(eta: float, seed: int, hours: int) -> list[str]:
    """By the way that runs in an endpoint: statuses, twice, to observations, to the watch."""
    link = ObservedLink(State(eta=eta), seed=seed)
    watch = Watch(measure_baseline(link.run(600)))
    said = []
    for _ in range(hours):
        said += [f"{n.time_s}: {n.turn} {n.fault}" for n in watch.observe(link.run(3600))]
        said += [str(alarm) for alarm in watch.alarms]
    return said


@pytest.mark.soak
def test_a_day_of_a_healthy_link() -> None:
    assert alarms_of_hours(ETA, seed=11, hours=24) == []


def test_hours_of_a_link_with_few_counts() -> None:
    assert alarms_of_hours(WEAK, seed=12, hours=3) == []


def test_limits_without_noise_in_mind_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: estimates alone, of the same link, lie beyond the same limits."""
    monkeypatch.setattr(fault_watch, "FALSE_ALARM", 0.5)
    assert alarms_of_hours(WEAK, seed=12, hours=1) != []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 24))
@pytest.mark.parametrize("eta", [ETA, WEAK])
def test_days_of_healthy_links(eta: float, seed: int) -> None:
    assert alarms_of_hours(eta, seed, hours=24) == []
