"""Errors that rise slowly: told long before a minute's counts could, and never by noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_link import SimulatedLink, State
from simulated_statuses import ObservedLink

from bellrelay.control.error_drift import ErrorCusum
from bellrelay.control.fault_baseline import Baseline, measure_baseline
from bellrelay.control.fault_watch import FALSE_ALARM, Turn, Watch

USUAL, EVENTS = 0.02, 120_000


def looks(rate: float, blocks: int, false_alarm: float, seed: int) -> int:
    """Blocks of a thousand bits in which the sum is beyond noise."""
    rng = np.random.default_rng(seed)
    cusum = ErrorCusum(USUAL, EVENTS, 0.002, 0.004, false_alarm)
    errors = rng.binomial(1000, rate, blocks)
    return sum(cusum.take(int(k), 1000) >= 1.0 for k in errors)


def limit() -> float:
    """The rate up to which nothing may be told: usual, its error bar, slack."""
    return USUAL + 5.0 * (USUAL * (1.0 - USUAL) / EVENTS) ** 0.5 + 0.002


@pytest.mark.parametrize("seed", range(3))
def test_noise_at_the_limit_is_no_rise(seed: int) -> None:
    """Six days of blocks of five seconds."""
    assert looks(limit(), 100_000, FALSE_ALARM, seed) == 0


def test_the_check_can_fail() -> None:
    assert looks(limit(), 100_000, 0.5, 1) > 0


def test_a_rise_is_told_within_minutes_of_blocks() -> None:
    """Half a percent above the limit: 200 blocks are 17 minutes."""
    assert looks(limit() + 0.005, 200, FALSE_ALARM, 2) > 0


def test_it_comes_down_again_after_the_worst() -> None:
    cusum = ErrorCusum(USUAL, EVENTS, 0.002, 0.004, FALSE_ALARM)
    for _ in range(1000):
        cusum.take(300, 1000)
    blocks = 0
    while cusum.level > 0.5:
        cusum.take(20, 1000)
        blocks += 1
    assert blocks < 120


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return measure_baseline(ObservedLink(seed=1).run(600))


def told_after(baseline: Baseline, change: object, fault: str, hours: int) -> float:
    """Seconds after which a fault is told, of a link that changes from now on."""
    link, watch = ObservedLink(seed=7), Watch(baseline)
    assert watch.observe(link.run(120)) == []
    for k in range(hours * 6):
        notices = watch.observe(
            link.run(600, lambda t, s, k=k: change(600.0 * k + t))  # type: ignore[operator, misc]
        )
        raised = [n for n in notices if n.turn is Turn.RAISED]
        if raised:
            assert raised[0].fault == fault, raised
            assert watch.faults[0].fault.name == fault
            return raised[0].time_s - 120.0
    raise AssertionError("not told")


def test_a_slow_leak_is_told_before_a_percent_is_lost(baseline: Baseline) -> None:
    """Flips in Z rise by half a percent in an hour; by 2 % more a minute's counts would tell."""

    def leak(seconds: float) -> State:
        return replace(State(), flips_z=0.004 + 0.005 * (seconds // 60 * 60) / 3600.0)

    after_s = told_after(baseline, leak, "encoder-misaligned", 3)
    print(f"Z, 0.5 % an hour: {after_s / 60:.0f} min")
    assert after_s < 2.5 * 3600.0


def test_a_slow_turn_of_the_x_bases_is_told(baseline: Baseline) -> None:
    def turn(seconds: float) -> State:
        return replace(State(), flips_x=0.01 + 0.06 * (seconds // 60 * 60) / 3600.0)

    after_s = told_after(baseline, turn, "phase-misaligned", 3)
    print(f"X, 6 % of flips an hour: {after_s / 60:.0f} min")
    assert after_s < 2.5 * 3600.0


def test_a_healthy_link_of_a_bad_baseline_is_left_alone() -> None:
    """A baseline of two minutes is known to little: its own error is no rise."""
    link = SimulatedLink(seed=3)
    watch = Watch(measure_baseline(link.run(120)))
    assert watch.observe(link.run(3600)) == []
