"""Intervals of counts and means: exact tails, and their direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from bellrelay.distill.concentration import count_lower, count_upper, mean_lower, mean_upper
from bellrelay.distill.joint_constraints import weighted_mean_lower, weighted_mean_upper

COUNTS = st.integers(0, 10**9)
EPSILONS = st.floats(1e-25, 0.1)


@given(count=COUNTS, epsilon=EPSILONS)
def test_a_mean_lies_between_its_bounds_and_their_tails_are_epsilon(
    count: int, epsilon: float
) -> None:
    low, high = mean_lower(count, epsilon), mean_upper(count, epsilon)
    assert low <= count <= high
    # With the mean at its bound, what was counted, or worse, has probability epsilon.
    assert 0.97 * epsilon < poisson.cdf(count, high) <= epsilon
    if count > 0:
        assert 0.97 * epsilon < poisson.sf(count - 1, low) <= epsilon


@given(mean=st.floats(0.0, 1e9), epsilon=EPSILONS)
def test_a_count_lies_between_its_bounds_with_that_probability(mean: float, epsilon: float) -> None:
    low, high = count_lower(mean, epsilon), count_upper(mean, epsilon)
    assert low == int(low)
    assert high == int(high)
    assert 0.0 <= low <= mean <= high or mean == 0.0
    assert poisson.sf(high, mean) <= epsilon
    assert poisson.cdf(low - 1, mean) <= epsilon
    if mean > 100.0:
        # And no farther out than that: the next whole numbers would be too close.
        assert poisson.sf(high - 2, mean) > epsilon * 0.9
        assert poisson.cdf(low + 1, mean) > epsilon * 0.9


def test_sums_of_unequal_bernoulli_variables_keep_within_the_bounds() -> None:
    """Not only Poisson variables: sums of yes and no of any probabilities fluctuate less."""
    rng = np.random.default_rng(1)
    for shares in (np.full(200, 0.3), np.linspace(0.0, 1.0, 400), np.repeat([0.999, 0.01], 100)):
        drawn = (rng.random((1000, shares.size)) < shares).sum(axis=1)
        mean = shares.sum()
        for epsilon in (0.05, 0.01):
            assert np.mean(drawn > count_upper(mean, epsilon)) <= epsilon
            assert np.mean(drawn < count_lower(mean, epsilon)) <= epsilon
            lows = np.array([mean_lower(int(k), epsilon) for k in drawn])
            highs = np.array([mean_upper(int(k), epsilon) for k in drawn])
            assert np.mean(lows > mean) <= epsilon
            assert np.mean(highs < mean) <= epsilon


@given(
    weights=st.lists(st.floats(0.0, 50.0), min_size=1, max_size=5),
    epsilon=st.floats(1e-20, 1e-3),
    seed=st.integers(0, 2**32 - 1),
)
def test_joint_constraints_hold_and_beat_single_ones(
    weights: list[float], epsilon: float, seed: int
) -> None:
    counts = np.random.default_rng(seed).integers(0, 10**6, len(weights)).tolist()
    low = weighted_mean_lower(weights, counts, epsilon)
    high = weighted_mean_upper(weights, counts, epsilon)
    total = sum(w * n for w, n in zip(weights, counts, strict=True))
    assert low <= total * (1 + 1e-9) + 1e-9
    assert high >= total * (1 - 1e-9)
    singly = sum(w * mean_lower(n, epsilon) for w, n in zip(weights, counts, strict=True))
    assert low >= singly * (1 - 1e-9) - 1e-6
    singly = sum(w * mean_upper(n, epsilon) for w, n in zip(weights, counts, strict=True))
    assert high <= singly * (1 + 1e-9) + 1e-6


def test_joint_constraints_refuse_what_they_do_not_bound() -> None:
    with pytest.raises(ValueError, match="negative"):
        weighted_mean_lower([1.0, -1.0], [5, 5], 0.01)
