"""Beyond a limit, or noise: the tests against exact distributions, and that they are sharp."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bellrelay.control.fault_statistics import COUNTS, EVENTS, LEVEL, MEAN, SHARE, Statistic

TAIL = 1e-6


def flags(values: np.ndarray) -> list[bool]:
    return [bool(v) for v in values]


def test_counts_are_poisson() -> None:
    for mean in (0.3, 4.0, 900.0):
        num = np.arange(0.0, 4.0 * mean + 40.0)
        den = np.full(len(num), mean / 1.5)  # the limit 1.5 is this mean
        above = COUNTS.above(num, den, 1.5, TAIL)
        below = COUNTS.below(num, den, 1.5, TAIL)
        assert flags(above) == flags(stats.poisson.sf(num - 1, mean) <= TAIL)
        assert flags(below) == flags(stats.poisson.cdf(num, mean) <= TAIL)


def test_shares_are_binomial() -> None:
    for n, p in ((50, 0.02), (400, 0.5), (5000, 0.27)):
        num, den = np.arange(0.0, n + 1.0), np.full(n + 1, float(n))
        above = SHARE.above(num, den, p, TAIL)
        below = SHARE.below(num, den, p, TAIL)
        assert flags(above) == flags(stats.binom.sf(num - 1, n, p) <= TAIL)
        assert flags(below) == flags((stats.binom.cdf(num, n, p) <= TAIL) & (num < n))


def test_means_are_normal_and_weighted() -> None:
    values, sigmas = np.array([1.0, 4.0]), np.array([0.1, 1.0])
    num, den = (values / sigmas**2).sum(), (1.0 / sigmas**2).sum()
    assert MEAN.value(np.array([num]), np.array([den]))[0] == pytest.approx(104.0 / 101.0)
    se = den**-0.5
    z = -stats.norm.ppf(TAIL)
    mean = num / den
    for limit, expected in ((mean - 1.01 * z * se, True), (mean - 0.99 * z * se, False)):
        assert bool(MEAN.above(np.array([num]), np.array([den]), limit, TAIL)[0]) is expected


@pytest.mark.parametrize("statistic", [COUNTS, SHARE, MEAN, LEVEL, EVENTS])
def test_nothing_says_nothing(statistic: Statistic) -> None:
    none = np.zeros(1)
    assert not statistic.above(none, none, 0.5, 0.5)[0]
    assert not statistic.below(none, none, 0.5, 0.5)[0]
    assert np.isnan(statistic.value(none, none)[0])


def test_a_share_beyond_what_shares_are() -> None:
    """Baselines near 0 or 1 put limits outside: nothing is above 1.1, everything below it."""
    num, den = np.array([0.0, 5.0, 10.0]), np.full(3, 10.0)
    assert flags(SHARE.above(num, den, 1.1, TAIL)) == [False] * 3
    assert flags(SHARE.below(num, den, 1.1, TAIL)) == [True] * 3
    assert flags(SHARE.above(num, den, -0.1, TAIL)) == [True] * 3
    assert flags(SHARE.below(num, den, -0.1, TAIL)) == [False] * 3
