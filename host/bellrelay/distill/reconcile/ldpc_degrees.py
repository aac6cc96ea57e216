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
    40: {2: 39, 3: 530, 8: 103, 9: 221, 28: 26, 30: 81},
    70: {2: 69, 3: 549, 9: 200, 10: 93, 28: 28, 40: 61},
    105: {2: 103, 3: 547, 9: 124, 10: 149, 40: 77},
    148: {2: 145, 3: 536, 9: 137, 10: 111, 31: 47, 40: 24},
    202: {2: 198, 3: 505, 9: 127, 10: 95, 19: 26, 40: 49},
    295: {2: 290, 3: 434, 8: 75, 9: 105, 10: 30, 22: 26, 40: 40},
    357: {2: 350, 3: 379, 7: 16, 8: 180, 20: 42, 40: 33},
    447: {2: 414, 3: 322, 7: 163, 8: 17, 16: 24, 17: 30, 40: 30},
    545: {2: 456, 3: 310, 7: 163, 16: 38, 32: 33},
    648: {2: 500, 3: 295, 7: 108, 8: 52, 30: 45},
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
    (columns,) int64, from 2 to three quarters of the rows or 3, fewer than `rows` of them 2.
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
    largest = max(3, rows * 3 // 4)
    degrees = np.repeat([min(d, largest) for d in count], list(count.values()))
    return degrees.astype(np.int64)
