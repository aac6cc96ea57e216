"""How many columns of a code have how many edges, for every ratio of rows to columns.

The table below was found by density evolution on the binary symmetric channel with linear programs
between (T. J. Richardson, M. A. Shokrollahi and R. L. Urbanke, IEEE Trans. Inf. Theory 47, 619
(2001)); `bench/_ldpc_design.py` makes it, `ldpc_density` computes the thresholds. Two conditions
were put beside the threshold: every iteration at it must take at least 1 % off the messages'
entropy, for a decoder pays for every iteration; and there are fewer columns of degree 2 than rows,
so that they can form a chain without a cycle.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEGREE_TABLE", "column_degrees"]

DEGREE_TABLE: dict[int, dict[int, int]] = {
    41: {2: 40, 3: 540, 8: 220, 9: 97, 21: 28, 22: 48, 23: 27},
    72: {2: 70, 3: 556, 8: 52, 9: 160, 10: 77, 22: 12, 23: 11, 30: 62},
    106: {2: 104, 3: 543, 8: 73, 9: 183, 30: 97},
    149: {2: 146, 3: 539, 8: 12, 9: 121, 10: 114, 29: 19, 30: 49},
    203: {2: 199, 3: 510, 9: 149, 10: 81, 29: 10, 30: 51},
    275: {2: 270, 3: 458, 8: 49, 9: 147, 10: 15, 26: 20, 27: 8, 30: 33},
    358: {2: 351, 3: 379, 7: 36, 8: 162, 30: 72},
    447: {2: 415, 3: 326, 7: 102, 8: 95, 30: 62},
    539: {2: 457, 3: 311, 7: 161, 14: 32, 30: 39},
    648: {2: 499, 3: 296, 7: 108, 8: 52, 30: 45},
}
"""By rows per 1000 columns: columns of each degree, 1000 in all."""


def column_degrees(columns: int, rows: int) -> NDArray[np.int64]:
    """The number of edges of every column, in ascending order.

    Between two entries of the table the numbers are interpolated, beyond its ends the last one is
    taken. All in whole numbers and fractions: both sides must get the same.

    Parameters
    ----------
    columns, rows
        Of the base matrix; 3 <= rows < columns.

    Returns
    -------
    (columns,) int64, from 2 to half of the rows or 3, fewer than `rows` of them 2.
    """
    ratios = sorted(DEGREE_TABLE)
    ratio = min(max(Fraction(1000 * rows, columns), Fraction(ratios[0])), Fraction(ratios[-1]))
    upper = max(1, bisect_left(ratios, ratio))
    low, high = ratios[upper - 1], ratios[upper]
    weight = (ratio - low) / (high - low)
    share = {
        degree: (
            (1 - weight) * DEGREE_TABLE[low].get(degree, 0)
            + weight * DEGREE_TABLE[high].get(degree, 0)
        )
        * Fraction(columns, 1000)
        for degree in sorted(DEGREE_TABLE[low].keys() | DEGREE_TABLE[high].keys())
    }
    count = {degree: int(exact) for degree, exact in share.items()}
    by_remainder = sorted(share, key=lambda degree: count[degree] - share[degree])
    for degree in by_remainder[: columns - sum(count.values())]:
        count[degree] += 1
    excess = max(0, count[2] - (rows - 1))
    count[2] -= excess
    count[3] += excess
    largest = max(3, rows // 2)
    degrees = np.repeat([min(d, largest) for d in count], list(count.values()))
    return degrees.astype(np.int64)
