"""Double scanning: the worst case of pairs and errors together, not of each apart.

C. Jiang et al., Phys. Rev. A 103, 012402 (2021); carried out: Y.-P. Chen et al., arXiv:2105.09587.
The closed forms of `decoy_closed_form` share two unknown means: M, of nu-nu events with error, and
H, of what nu-nu events hold without a photon. Pairs are (C + M - H - w (...)) / kappa, phase errors
(M - q H / 2) / kappa': a large M makes both large, a large H both small. So the worst case is
sought over the intervals of M and H, with joint constraints on all other sums.

The private bits n (1 - h(t / n)) are a convex function of pairs n and errors t, and these are
linear in M and H. By the minimax theorem the minimum over the rectangle, less the part where errors
would be negative, is the largest, over tangents, of their minima, and those lie in corners: no grid
is scanned, and every tangent's value is a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import minimize_scalar

from .concentration import count_lower, count_upper, mean_lower, mean_upper
from .decoy_closed_form import decoy_form, require_decoys
from .joint_constraints import weighted_mean_lower, weighted_mean_upper
from .ladder import MU, NU, Ladder, O
from .tally import Tally

__all__ = ["DOUBLE_SCANNING_BOUNDS", "WorstCase", "double_scanning"]

DOUBLE_SCANNING_BOUNDS = 15
"""Intervals that may fail: M 2, H 6, the other sums 5, and the counts in the key itself 2."""


@dataclass(frozen=True)
class WorstCase:
    """private_bits: their lower bound. pairs, phase_errors: where the worst case lies."""

    private_bits: float
    pairs: float
    phase_errors: float


def double_scanning(tally: Tally, alice: Ladder, bob: Ladder, failure: float) -> WorstCase:
    """Lower bound on n_11 (1 - h(e_phase)) of the key.

    failure: probability that it is wrong. Raises ValueError where o may hold light, or where a cell
    that it needs is not reported.
    """
    require_decoys(tally)
    form = decoy_form(alice, bob)
    if form.pairs <= 0.0:
        return WorstCase(0.0, 0.0, 0.0)
    epsilon = failure / DOUBLE_SCANNING_BOUNDS
    n = tally.n.astype(float)
    wrong = float(tally.m[NU, NU])
    errors = mean_lower(wrong, epsilon), mean_upper(wrong, epsilon)
    weights, counts = (form.r_b, form.r_a), (n[NU, O], n[O, NU])
    vacuum = (
        weighted_mean_lower(weights, counts, epsilon) - form.r * mean_upper(n[O, O], epsilon),
        weighted_mean_upper(weights, counts, epsilon) - form.r * mean_lower(n[O, O], epsilon),
    )
    vacuum = max(vacuum[0], 0.0), max(vacuum[1], 0.0)
    rest = weighted_mean_lower(
        (1.0, form.w * form.s_b, form.w * form.s_a),
        (n[NU, NU] - wrong, n[MU, O], n[O, MU]),
        epsilon,
    ) - weighted_mean_upper((form.w, form.w * form.s), (n[MU, MU], n[O, O]), epsilon)

    def pairs(m: float, h: float) -> float:
        return (rest + m - h) / form.pairs

    half = form.vacuum_share / 2.0

    def phase_errors(m: float, h: float) -> float:
        return max(0.0, m - half * h) / form.errors

    # How far the counts in the key may be off their means, at most.
    most = max(0.0, pairs(errors[1], vacuum[0]))
    fewer = most - count_lower(most, epsilon)
    worst = phase_errors(errors[1], vacuum[0])
    more = count_upper(worst, epsilon) - worst
    corners = [(m, h) for m in errors for h in vacuum if m >= half * h]
    # Where the line of no error crosses the rectangle's edges.
    corners += [(half * h, h) for h in vacuum if errors[0] < half * h < errors[1]]
    corners += [(m, m / half) for m in errors if vacuum[0] < m / half < vacuum[1]]
    if not corners:
        # Even the most errors are fewer than vacuum alone must show: counts contradict themselves.
        return WorstCase(0.0, 0.0, 0.0)
    points = [(pairs(m, h) - fewer, phase_errors(m, h) + more) for m, h in corners]

    def tangent(rate: float) -> float:
        of_pair, of_error = 1.0 + math.log2(1.0 - rate), math.log2((1.0 - rate) / rate)
        return min(of_pair * n11 - of_error * t for n11, t in points)

    best = minimize_scalar(lambda r: -tangent(r), bounds=(1e-6, 0.5 - 1e-6), method="bounded")
    rate, value = float(best.x), -float(best.fun)
    if value <= 0.0:
        return WorstCase(0.0, 0.0, 0.0)
    n11 = value / (1.0 + rate * math.log2(rate) + (1.0 - rate) * math.log2(1.0 - rate))
    return WorstCase(value, n11, rate * n11)
