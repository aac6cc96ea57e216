"""Searches degree distributions for `bellrelay.distill.reconcile.ldpc_degrees`.

    python bench/_ldpc_design.py ERROR_RATE EDGES_PER_ROW [LARGEST_DEGREE]

Prints a line of the table: columns of each degree, per 1000, of a code that corrects this error
rate with as few rows as can be, given the edges per row. More edges bring it closer to an ideal
code, and cost time. About ten seconds for a line.

Density evolution notes, at every iteration, what columns of each degree would make of the messages.
As long as the messages change little, the entropy that a mixture of degrees leaves is linear in the
shares, so that a linear program finds the best mixture near the last one (T. J. Richardson,
M. A. Shokrollahi and R. L. Urbanke, IEEE Trans. Inf. Theory 47, 619 (2001)).
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from bellrelay.distill.reconcile.ldpc_density import Evolution
from bellrelay.distill.reconcile.ldpc_rate import entropy

Floats = NDArray[np.float64]

LEAST_GAIN = 0.01
"""Share of the entropy that every iteration must take away: iterations are what a decoder pays."""

CHAIN = 0.98
"""Columns of degree 2 per row, at most: the construction makes an open chain of them."""

ROUNDS, LEAST_SHARE = 30, 0.006


def shares_of_rows(edges_per_row: float) -> Floats:
    lower = int(edges_per_row)
    shares = np.zeros(lower + 2)
    shares[lower] = (lower + 1 - edges_per_row) * lower / edges_per_row
    shares[lower + 1] = (edges_per_row - lower) * (lower + 1) / edges_per_row
    return shares


def ratio(shares: Floats, edges_per_row: float) -> float:
    """Rows per column."""
    return 1 / edges_per_row / float(np.sum(shares[2:] / np.arange(2, shares.size)))


def search(error_rate: float, edges_per_row: float, largest: int) -> Floats:
    """Shares of the edges at columns of each degree; (largest + 1,) float64."""
    degrees = np.arange(2, largest + 1)
    of_rows = shares_of_rows(edges_per_row)
    shares = np.zeros(largest + 1)
    shares[3], shares[largest] = 0.6, 0.4
    while not (course := Evolution(shares, of_rows).course(error_rate)).converged:
        shares[3] *= 0.7
        shares[largest] = 1 - shares[3]
    step = 0.08
    for _ in range(ROUNDS):
        allowed = np.maximum(course.before * (1 - LEAST_GAIN), course.after @ shares[1:])
        lower, upper = np.maximum(shares[2:] - step, 0), np.minimum(shares[2:] + step, 1)
        upper[0] = min(upper[0], CHAIN * 2 / edges_per_row)
        lower[0] = min(lower[0], upper[0])
        program = linprog(
            -1 / degrees,
            A_ub=course.after[:, 1:] / course.before[:, None],
            b_ub=allowed / course.before,
            A_eq=np.ones((1, degrees.size)),
            b_eq=[1.0],
            bounds=list(zip(lower, upper, strict=True)),
        )
        if program.status != 0:
            step /= 2
            continue
        tried = np.concatenate([[0, 0], np.maximum(program.x, 0)])
        tried /= tried.sum()
        while not (now := Evolution(tried, of_rows).course(error_rate)).converged:
            step /= 2
            tried = (tried + shares) / 2
            if step < 1e-3:
                return shares
        gained = ratio(shares, edges_per_row) - ratio(tried, edges_per_row)
        shares, course = tried, now
        if gained < 3e-5:
            break
    return shares


def table_line(shares: Floats, edges_per_row: float) -> str:
    kept = np.where(shares > LEAST_SHARE, shares, 0)
    nodes = kept[2:] / np.arange(2, shares.size)
    counts = np.round(1000 * nodes / nodes.sum()).astype(int)
    rows = round(float(counts @ np.arange(2, shares.size)) / edges_per_row)
    counts[0] = min(counts[0], rows - 1)
    counts[1] += 1000 - counts.sum()
    columns = ", ".join(f"{d}: {n}" for d, n in enumerate(counts, 2) if n)
    return f"{rows}: {{{columns}}},"


def main() -> None:
    error_rate, edges_per_row = float(sys.argv[1]), float(sys.argv[2])
    largest = int(sys.argv[3]) if len(sys.argv) > 3 else 40
    shares = search(error_rate, edges_per_row, largest)
    overhead = ratio(shares, edges_per_row) / entropy(error_rate)
    print(table_line(shares, edges_per_row))
    print(f"corrects {error_rate:.2%} with {overhead:.4f} times the rows of an ideal code")


if __name__ == "__main__":
    main()
