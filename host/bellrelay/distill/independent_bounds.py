"""First bounds: every count has its own interval, and a closed form combines them.

F. Xu, M. Curty, B. Qi, H.-K. Lo, New J. Phys. 15, 113007 (2013), for intensities that may differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .concentration import count_lower, count_upper, mean_lower, mean_upper
from .ladder import Ladder
from .tally import Tally

__all__ = ["independent_bounds"]

Floats = NDArray[np.float64]

# Two-sided bounds of the nine cells in X, upper ones of errors, two of what s-s shows.
_BOUNDS = 9 * 2 + 9 + 2


def independent_bounds(
    tally: Tally, alice: Ladder, bob: Ladder, failure: float
) -> tuple[float, float]:
    """(lower bound on pairs of single photons among the s-s events, upper bound on phase error).

    failure: probability that either is wrong.
    Raises NotImplementedError for a deviation of the intensities.
    """
    if alice.deviation or bob.deviation:
        raise NotImplementedError("deviation")
    eps = failure / _BOUNDS
    sent = tally.pulses * np.outer(alice.probabilities[1:], bob.probabilities[1:])
    low = np.vectorize(lambda k: mean_lower(k, eps))(tally.n_x) / sent
    high = np.vectorize(lambda k: mean_upper(k, eps))(tally.n_x) / sent
    wrong_low = np.vectorize(lambda k: mean_lower(k, eps))(tally.m_x) / sent
    wrong_high = np.vectorize(lambda k: mean_upper(k, eps))(tally.m_x) / sent

    a, b = alice.intensities[1:], bob.intensities[1:]
    swap = (a[0] + a[2]) * (b[1] + b[2]) > (b[0] + b[2]) * (a[1] + a[2])
    if swap:
        a, b, low, high = b, a, low.T, high.T
    weight = np.exp(a[:, None] + b[None, :])

    def without_vacuum(plus: Floats, minus: Floats, k: int) -> float:
        return float(
            weight[k, k] * plus[k, k]
            + weight[2, 2] * plus[2, 2]
            - weight[k, 2] * minus[k, 2]
            - weight[2, k] * minus[2, k]
        )

    weak = without_vacuum(low, high, 1)
    strong = without_vacuum(high, low, 0)
    numerator = (a[0] ** 2 - a[2] ** 2) * (b[0] - b[2]) * weak - (a[1] ** 2 - a[2] ** 2) * (
        b[1] - b[2]
    ) * strong
    denominator = (a[0] - a[2]) * (b[0] - b[2]) * (a[1] - a[2]) * (b[1] - b[2]) * (a[0] - a[1])
    pair_yield = float(np.clip(numerator / denominator, 0.0, 1.0))

    a, b = alice.intensities[1:], bob.intensities[1:]
    weight = np.exp(a[:, None] + b[None, :])
    wrong = without_vacuum(wrong_high, wrong_low, 1)
    wrong_yield = max(0.0, wrong / ((a[1] - a[2]) * (b[1] - b[2])))

    pairs = tally.pulses * alice.p_s * bob.p_s * alice.s * bob.s * np.exp(-alice.s - bob.s)
    n11 = min(count_lower(pairs * pair_yield, eps), float(tally.n_z))
    if n11 <= 0.0:
        return 0.0, 0.5
    return n11, min(0.5, count_upper(pairs * wrong_yield, eps) / n11)
