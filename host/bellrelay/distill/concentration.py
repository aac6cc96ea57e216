"""Counts and their means: two-sided bounds that hold for sums of independent yes-or-no events.

Given what was announced and how many photons each pulse had, the settings of different slots are
independent, so that every count is a sum of independent Bernoulli variables, each with a
probability of its own. Away from the mean, a tail of such a sum is at most that of a binomial
with the same mean (W. Hoeffding, Ann. Math. Stat. 27, 713 (1956), theorem 5: counts at least 1
above or below the mean), which is at most that of a Poisson variable (T. W. Anderson and
S. M. Samuels, Proc. 5th Berkeley Symp. 1, 1 (1967)). The tails of the latter are inverted exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc

__all__ = ["count_lower", "count_upper", "mean_lower", "mean_upper"]

# Of epsilon: more than the root search and the library's tails are off by.
_CAUTION = 0.99


def mean_lower(count: float, epsilon: float) -> float:
    """Lower bound on the mean of an observed count, wrong with probability `epsilon` at most."""
    if count <= 0.0:
        return 0.0
    # P(at least so many) rises with the mean.
    return _crossing(lambda mean: float(gammainc(count, mean)), epsilon, count, -1.0)


def mean_upper(count: float, epsilon: float) -> float:
    """Upper bound on the mean of an observed count, wrong with probability `epsilon` at most."""
    # P(at most so many) falls with the mean.
    return _crossing(lambda mean: float(gammaincc(count + 1.0, mean)), epsilon, count, 1.0)


def count_lower(mean: float, epsilon: float) -> float:
    """Lower bound on a count whose mean is at least `mean`, wrong with probability `epsilon`."""
    if mean <= 0.0:
        return 0.0
    # P(count < k) = gammaincc(k, mean).
    return math.floor(_crossing(lambda k: float(gammaincc(k, mean)), epsilon, mean, -1.0))


def count_upper(mean: float, epsilon: float) -> float:
    """Upper bound on a count whose mean is at most `mean`, wrong with probability `epsilon`."""
    if mean <= 0.0:
        return 0.0
    # P(count > k) = gammainc(k + 1, mean).
    return math.ceil(_crossing(lambda k: float(gammainc(k + 1.0, mean)), epsilon, mean, 1.0))


def _crossing(
    tail: Callable[[float], float], epsilon: float, start: float, direction: float
) -> float:
    """Where a tail falls to epsilon on the way from `start`; 0 if it does not before that."""
    target = math.log(_CAUTION * epsilon)

    def excess(x: float) -> float:
        # Logarithms keep the search even.
        return math.log(max(tail(x), 1e-300)) - target

    # About where a normal distribution would have it.
    step = math.sqrt(max(start, 1.0) * -2.0 * target) - target
    near, far = start, start
    while excess(far) > 0.0:
        near, far = far, far + direction * step
        if far <= 0.0:
            far = 0.0
            if excess(1e-300) > 0.0:
                return 0.0
            break
    if near == far:
        return start
    return float(brentq(excess, max(near, 1e-300), max(far, 1e-300), xtol=1e-11 * max(start, 1.0)))
