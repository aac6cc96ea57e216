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
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv

__all__ = ["count_lower", "count_upper", "mean_lower", "mean_upper"]


def mean_lower(count: float, epsilon: float) -> float:
    """Lower bound on the mean of an observed count, wrong with probability `epsilon` at most."""
    return float(gammaincinv(count, epsilon)) if count > 0 else 0.0


def mean_upper(count: float, epsilon: float) -> float:
    """Upper bound on the mean of an observed count, wrong with probability `epsilon` at most."""
    return float(gammainccinv(count + 1.0, epsilon))


def count_lower(mean: float, epsilon: float) -> float:
    """Lower bound on a count whose mean is at least `mean`, wrong with probability `epsilon`."""
    if mean <= 0.0 or math.exp(-mean) > epsilon:
        return 0.0
    # P(count < k) = gammaincc(k, mean), which rises with k.
    return math.floor(_root(lambda k: float(gammaincc(k, mean)), epsilon, 1e-9, mean))


def count_upper(mean: float, epsilon: float) -> float:
    """Upper bound on a count whose mean is at most `mean`, wrong with probability `epsilon`."""
    if mean <= 0.0:
        return 0.0
    end = mean + 1.0
    while gammainc(end + 1.0, mean) > epsilon:
        end = mean + 2.0 * (end - mean)
    # P(count > k) = gammainc(k + 1, mean), which falls with k.
    return math.ceil(_root(lambda k: float(gammainc(k + 1.0, mean)), epsilon, mean, end))


def _root(tail: Callable[[float], float], epsilon: float, start: float, end: float) -> float:
    """Where a monotone tail is epsilon; a logarithm keeps the search even."""
    target = math.log(epsilon)

    def distance(k: float) -> float:
        return math.log(max(tail(k), 1e-300)) - target

    if distance(start) * distance(end) > 0.0:
        # The tail is below epsilon up to the mean itself.
        return start
    return float(brentq(distance, start, end, xtol=1e-3))
