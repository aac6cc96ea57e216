"""Bounds on weighted sums of means whose counts fluctuate together less than one by one.

Y.-H. Zhou, Z.-W. Yu, X.-B. Wang, Phys. Rev. A 93, 042324 (2016): with 0 <= w_1 <= w_2 <= ...

    sum_i w_i <n_i>  =  sum_k (w_k - w_(k-1)) <n_k + n_(k+1) + ...>,

and every sum of counts on the right gets an interval of its own. A sum fluctuates by the root of
its size, which is less than the sum of the roots. As many intervals are needed as there are counts,
and which sums they are of follows from the weights, so they are fixed before the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .concentration import mean_lower, mean_upper

__all__ = ["weighted_mean_lower", "weighted_mean_upper"]


def weighted_mean_lower(weights: Sequence[float], counts: Sequence[float], epsilon: float) -> float:
    """Lower bound on sum w <n>, wrong with probability len(weights) `epsilon` at most.

    Raises ValueError on a negative weight.
    """
    return _by_layers(weights, counts, lambda count: mean_lower(count, epsilon))


def weighted_mean_upper(weights: Sequence[float], counts: Sequence[float], epsilon: float) -> float:
    """Upper bound on sum w <n>, wrong with probability len(weights) `epsilon` at most.

    Raises ValueError on a negative weight.
    """
    return _by_layers(weights, counts, lambda count: mean_upper(count, epsilon))


def _by_layers(
    weights: Sequence[float], counts: Sequence[float], bound: Callable[[float], float]
) -> float:
    if min(weights, default=0.0) < 0.0:
        raise ValueError(f"weights must not be negative, got {list(weights)}")
    layers = sorted(zip(weights, counts, strict=True))
    total, below = 0.0, 0.0
    for k, (weight, _) in enumerate(layers):
        total += (weight - below) * bound(sum(count for _, count in layers[k:]))
        below = weight
    return total
