"""Hysteresis: what raises, what clears, and that nothing flaps at a limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.control.fault_alarm import Alarm, Transition
from bellrelay.control.fault_statistics import COUNTS

FALSE_ALARM = 1e-9


def run(
    alarm: Alarm, beyond: list[bool], within: list[bool], start: float = 0.0
) -> list[Transition]:
    times = start + np.arange(1.0, len(beyond) + 1.0)
    return alarm.run(times, np.array(beyond), lambda: np.array(within))


def test_it_takes_a_run() -> None:
    alarm = Alarm(raise_s=2.0, clear_s=3.0)
    said = run(alarm, [True, True, False, True, True, True, True], [False] * 7)
    assert [(t.index, t.raised, t.since_s) for t in said] == [(5, True, 4.0)]
    said = run(alarm, [False] * 8, [True, True, True, False, True, True, True, True], 7.0)
    assert [(t.index, t.raised, t.since_s) for t in said] == [(7, False, 12.0)]
    assert not alarm.raised


def test_between_the_limits_it_stays() -> None:
    alarm = Alarm(0.0, 0.0)
    assert run(alarm, [False] * 5, [False] * 5) == []
    assert run(alarm, [True], [False], 5.0)[0].raised
    assert run(alarm, [False] * 5, [False] * 5, 6.0) == []
    assert alarm.raised


@given(st.data())
def test_batches_are_what_single_observations_are(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    beyond = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    within = [not b and data.draw(st.booleans()) for b in beyond]
    holds = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    one, many = Alarm(*map(float, holds)), Alarm(*map(float, holds))
    singly = [
        (k, t.raised, t.since_s)
        for k in range(n)
        for t in run(one, [beyond[k]], [within[k]], float(k))
    ]
    cut = data.draw(st.integers(0, n))
    batched = [
        (begin + t.index, t.raised, t.since_s)
        for begin, end in ((0, cut), (cut, n))
        if begin < end
        for t in run(many, beyond[begin:end], within[begin:end], float(begin))
    ]
    assert singly == batched


def flips(mean: float, raise_at: float, clear_at: float, tail: float, seed: int) -> int:
    """How often an alarm on counts with this mean changes in a day of seconds."""
    rng = np.random.default_rng(seed)
    n = 86_400
    per_s = 200.0
    counts = rng.poisson(per_s * mean, n + 1).astype(float)
    num, den = counts[1:] + counts[:-1], np.full(n, 2.0 * per_s)
    alarm = Alarm(1.0, 10.0 if tail < 0.1 else 0.0)
    beyond = COUNTS.above(num, den, raise_at, tail)
    return len(
        alarm.run(np.arange(1.0, n + 1.0), beyond, lambda: COUNTS.below(num, den, clear_at, 0.5))
    )


@pytest.mark.parametrize("mean", [1.6, 1.9, 1.95, 2.0, 2.05, 2.3, 2.6])
def test_a_day_at_the_limit_does_not_flap(mean: float) -> None:
    assert flips(mean, 2.0, 1.6, FALSE_ALARM, seed=3) <= 1


def test_that_is_not_so_without_noise_in_mind() -> None:
    """The check can fail: one limit, one look, and the estimate alone."""
    assert flips(2.0, 2.0, 2.0, 0.5, seed=3) > 1000
