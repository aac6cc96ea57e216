"""One weighted sum of counts that bounds what a key holds: the tightest of the methods here.

Every announced event belongs to a class (`event_classes`), and only its settings are still random,
independently of all other events. Let an event score w_c by the cell c that it is counted in, less
what it is worth if its settings make it key. If for every class, and all odds that its intensities
allow,

    E[ exp(t (score - worth)) ] <= 1,                                                          (1)

then the product of these factors over all events has mean 1 at most, and by Markov's inequality

    sum of worths  >=  sum_c w_c n_c - log(1/failure) / t                                      (2)

but with probability `failure`. There is one such inequality for a block, and one failure. Its
weights must not depend on the settings; they may depend on anything else, the announcements
included. Whoever doubts a bound evaluates (1): `excess` does.

With worths 1 + log2(1 - e) of a pair of single photons without phase error, 1 + log2(e) of one
with, and 1 of an event without photon of Alice's, the sum of worths is at most
n_vacuum + n_11 (1 - h(e_phase)) for any e: a tangent of a convex function. So (2) bounds from below
what counts, n_11 and its phase error in one, where other methods bound each apart and combine the
worst of both. It is a test factor as in Y. Zhang, E. Knill, P. Bierhorst, PRA 98, 040304 (2018),
there for random numbers; the form for decoy states is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .event_classes import Cells, EventClasses, Worths
from .weight_search import Weights, WeightSearch

__all__ = ["WeightedBound", "bound_by_weights", "excess", "worths_allowed"]

Floats = NDArray[np.float64]

# Enough for what floating point adds in (1), nothing for what it costs: counts times it, in bits.
_MARGIN = 1e-13
_ROUNDS = 40
_DECIMALS = 10


@dataclass(frozen=True, eq=False)
class WeightedBound:
    """A lower bound (2) on the sum of worths, that may be had from counts.

    weights, cells: by cell. log_failure: log(1/failure), the part of every candidate.
    """

    cells: Cells
    weights: Weights
    log_failure: float

    def value(self, counts: Floats) -> float:
        """The bound, for (cells,) counts; it may be negative."""
        return float(self.weights.weights @ counts) - self.log_failure / self.weights.scale


def excess(classes: EventClasses, weights: Weights) -> float:
    """Largest of E[exp(t (score - worth))] - 1 at the worst odds of any class; (1) needs <= 0."""
    means, _ = _worst(classes, weights)
    return float(means.max())


def worths_allowed(worths: Worths) -> bool:
    """Whether the sum of worths never exceeds n_vacuum + n_11 (1 - h(e_phase))."""
    return worths.vacuum <= 1.0 and 2.0**worths.pair + 2.0**worths.wrong_pair <= 2.0


def bound_by_weights(
    classes: EventClasses, expected: Floats, log_failure: float, worths: Worths | None = None
) -> WeightedBound:
    """The best weights for counts that are expected.

    Parameters
    ----------
    expected
        (cells,) counts that the weights are chosen for: anything that does not depend on the
        settings. Wrong expectations make the bound worse, never wrong.
    log_failure
        log(1/failure).
    worths
        Fixed worths; None: those of the private bits, the tangent chosen with the weights.
    """
    cells = classes.cells
    search = WeightSearch(np.maximum(expected, 1e-3), cells.key_cells, log_failure, worths)
    numbers, rows = classes.typical_rows()
    search.add(rows, classes.worth[numbers])
    negligible = 1e-4 * log_failure / max(1.0, float(expected.sum()))
    found = search.ascend()
    for _ in range(_ROUNDS):
        means, rows = _worst(classes, found)
        violated = means > negligible
        if violated.any():
            search.add(rows[violated], classes.worth[violated])
        elif not search.rescale():
            break
        try:
            found = search.ascend()
        except ArithmeticError:
            # What was found before is not the best, but it holds once it is repaired.
            break
    return WeightedBound(cells, _repaired(classes, found, worths is None), log_failure)


def _worst(classes: EventClasses, weights: Weights) -> tuple[Floats, Floats]:
    t = weights.scale
    in_key = weights.weights[classes.cells.key_cells][None, :] - weights.worths.array()[:, None]
    with np.errstate(over="ignore"):
        return classes.worst(np.expm1(t * weights.weights), np.expm1(t * in_key))


def _repaired(classes: EventClasses, found: Weights, free: bool) -> Weights:
    """Rounded, so that two machines find the same, then lowered until (1) holds for certain."""
    worths = found.worths
    if free:
        pair, wrong = (round(w, _DECIMALS) - 2 * 10.0**-_DECIMALS for w in worths[:2])
        worths = Worths(pair, wrong, 1.0)
    weights = Weights(np.round(found.weights, _DECIMALS), worths, found.scale)
    for _ in range(50):
        means, rows = _worst(classes, weights)
        # Lowering moves the cells that are counted. Elsewhere the factor is 1: a class that is
        # never counted meets (1) with equality, whatever the weights.
        counted = rows.sum(axis=1)
        over = float(np.max(means[counted > 0.0] / counted[counted > 0.0], initial=-np.inf))
        if over <= -_MARGIN:
            return weights
        weights = weights.lowered((max(over, 0.0) * 1.01 + 2.0 * _MARGIN) / weights.scale)
    raise ArithmeticError("no weights that satisfy every class")
