"""Bounds by linear programming over the yields of all photon numbers.

The means of the counts lie in intervals, and are sums over classes of events (`event_classes`) of
unknown, non-negative size. The least worth of the events of key that agrees with this is a linear
program; solved is its dual, whose solution is a weighted sum of counts,

    maximise  sum_j ( y_j low_j - z_j high_j ),   y, z >= 0,
    over      sum_j (y_j - z_j) P(set j | class)  <=  worth of the class  P(key | class),

for every class and all odds that the intensities allow, found one after the other where they are
violated. It knows the same as the closed forms and uses all of it, so it is never looser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from .concentration import count_lower, count_upper, mean_lower, mean_upper
from .event_classes import EventClasses, Worths
from .four_intensity import four_intensity_cells
from .ladder import Ladder
from .tally import Tally

__all__ = ["CountIntervals", "count_intervals", "least_worth", "program_bounds"]

Floats = NDArray[np.float64]

PAIRS = Worths(1.0, 1.0, 0.0)
ERRORS = Worths(0.0, -1.0, 0.0)

_ROUNDS = 30


@dataclass(frozen=True, eq=False)
class CountIntervals:
    """Sums of cells and intervals of their means.

    sets: (sets, cells), 1 where a cell is in the sum. low, high: (sets,).
    """

    sets: Floats
    low: Floats
    high: Floats


def count_intervals(classes: EventClasses, tally: Tally, failure: float) -> CountIntervals:
    """Every cell, and every pair of settings whose errors are counted, with an interval of its own.

    failure: probability that any of them is wrong.
    """
    cells = classes.cells
    singles = np.eye(cells.count)
    pairs = []
    for k, (a, b) in enumerate(np.argwhere(cells.split)):
        row = np.zeros(cells.count)
        row[int(cells.reported.ravel()[: a * cells.reported.shape[1] + b].sum())] = 1.0
        row[int(cells.reported.sum()) + k] = 1.0
        pairs.append(row)
    sets = np.concatenate([singles, np.array(pairs).reshape(-1, cells.count)])
    counts = sets @ cells.counts(tally.n, tally.m)
    each = failure / (2 * len(sets))
    return CountIntervals(
        sets,
        np.array([mean_lower(count, each) for count in counts]),
        np.array([mean_upper(count, each) for count in counts]),
    )


def least_worth(classes: EventClasses, intervals: CountIntervals, worths: Worths) -> float:
    """The least mean worth of the events of key that the intervals allow.

    Infinite where no yields agree with the intervals: the counts contradict themselves.
    Raises ArithmeticError where the program was not solved.
    """
    cells = classes.cells
    key = cells.key_cells
    worth = worths.array()
    unit = float(intervals.high.max())
    goal = np.concatenate([-intervals.low, intervals.high]) / unit
    numbers, rows = classes.typical_rows()
    left = rows @ intervals.sets.T
    right = worth[classes.worth[numbers]] * rows[:, key].sum(axis=1)
    for _ in range(_ROUNDS):
        found = linprog(
            goal, A_ub=np.hstack([left, -left]), b_ub=right, bounds=(0.0, None), method="highs"
        )
        if found.status == 3:
            return float("inf")
        if found.status != 0:
            raise ArithmeticError(f"linear program: {found.message}")
        half = len(intervals.low)
        weights = (found.x[:half] - found.x[half:]) @ intervals.sets
        means, rows = classes.worst(weights, weights[key][None, :] - worth[:, None])
        violated = means > 1e-9
        if not violated.any():
            break
        left = np.concatenate([left, rows[violated] @ intervals.sets.T])
        more = worth[classes.worth[violated]] * rows[violated][:, key].sum(axis=1)
        right = np.concatenate([right, more])
    # What is violated still is made up for: so much by every event that is counted.
    slip = max(0.0, float(means.max())) * float(intervals.high[: cells.count].sum())
    return float(-found.fun * unit) - slip


def program_bounds(tally: Tally, alice: Ladder, bob: Ladder, failure: float) -> tuple[float, float]:
    """(lower bound on the single-photon pairs of key, upper bound on their phase errors).

    failure: probability that anything is wrong. Counts that contradict themselves give (0, inf).
    Raises ArithmeticError where a program was not solved.
    """
    classes = EventClasses(alice.sender(), bob.sender(), four_intensity_cells(tally))
    in_key = failure / 20.0
    intervals = count_intervals(classes, tally, failure - 2.0 * in_key)
    pairs, errors = (least_worth(classes, intervals, worths) for worths in (PAIRS, ERRORS))
    if not np.isfinite(pairs) or not np.isfinite(errors):
        return 0.0, float("inf")
    return (
        min(count_lower(pairs, in_key), float(tally.n_z)),
        count_upper(max(0.0, -errors), in_key),
    )
