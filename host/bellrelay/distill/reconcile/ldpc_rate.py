"""How much to disclose: before anything is known but an expected error rate, and after."""

from __future__ import annotations

from math import log2, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Seen", "base_rows", "entropy", "first_rows", "hopeless", "observe", "wanted_rows"]

_LEAST_RATE = 1e-3
_LARGEST_RATE = 0.45

_OVERHEAD, _OVERHEAD_SLOPE = 1.05, 0.0015
"""A frame without end decodes in some fifty iterations with 1.05 + 0.0015 / h(e) times the bits of
an ideal code. The codes' thresholds lie 0.01 to 0.03 below, see `ldpc_degrees`."""

_MARGIN = 3.25
"""Standard deviations of the number of errors that the first message allows for: those of the
errors themselves, and what short codes lose, which is of the same order. One frame in a hundred or
so then asks for more, from 2e4 to 1e6 bits (`bench/ldpc.py`)."""

_HOPELESS = 0.98
"""Share of what a frame without end needs below which none is known to decode."""

_STEP, _STEP_GROWTH = 0.015, 1.3
"""A frame that failed asks for this share of what it has, and each time for more than the last."""


class Seen(NamedTuple):
    """What a frame's syndrome tells of its error rate; deviation: standard deviation."""

    rate: float
    deviation: float


def entropy(p: float) -> float:
    """Binary entropy in bits; 0 at 0 and 1."""
    return -p * log2(p) - (1 - p) * log2(1 - p) if 0 < p < 1 else 0.0


def first_rows(error_rate: float, length: int, columns: int, lift: int) -> int:
    """Rows of the first message, cuts included, for an expected error rate."""
    rate = min(max(error_rate, _LEAST_RATE), _LARGEST_RATE)
    rows = round(_needed(rate, length, _MARGIN) / lift)
    return min(max(rows, 3), columns - 1)


def base_rows(rows: int) -> int:
    """Rows of the code that is cut to have so many: 6 significant bits, so that codes are few."""
    grain = 1 << max(0, rows.bit_length() - 6)
    return rows // grain * grain


def observe(edges: NDArray[np.int64], unsatisfied: NDArray[np.int64], lift: int) -> Seen:
    """Error rate of a frame, from how many checks are unsatisfied.

    A check of d bits is unsatisfied with probability (1 - (1 - 2 e)^d) / 2. Solved is for the e
    that makes the expected number the one that was seen.

    Parameters
    ----------
    edges
        (rows,) int64, bits per check, for each row of `lift` checks.
    unsatisfied
        (rows,) int64, unsatisfied checks of each row.
    """
    seen = int(unsatisfied.sum()) / (lift * edges.size)

    def expected(rate: float) -> float:
        return float(np.mean((1 - (1 - 2 * rate) ** edges) / 2))

    low, high = 0.0, 0.5
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < seen else (low, middle)
    rate = min(max(low, _LEAST_RATE), _LARGEST_RATE)
    slope = float(np.mean(edges * (1 - 2 * rate) ** (edges - 1.0)))
    noise = sqrt(max(seen * (1 - seen), 1e-12) / (lift * edges.size))
    return Seen(rate, noise / max(slope, 1e-12))


def hopeless(seen: Seen, length: int, disclosed: int) -> bool:
    """Whether it is no use to decode with so few bits disclosed."""
    rate = max(seen.rate - 2 * seen.deviation, _LEAST_RATE)
    return disclosed < _HOPELESS * _needed(rate, length, 0.0)


def wanted_rows(seen: Seen, length: int, rows: int, lift: int, attempt: int) -> int:
    """Rows in all that a frame wants that failed with `rows` of them, `attempt` from 0."""
    enough = -(-_needed(seen.rate, length, 0.0) // lift)
    step = max(1, round(rows * _STEP * _STEP_GROWTH**attempt))
    return int(max(enough, rows + step))


def _needed(rate: float, length: int, margin: float) -> float:
    """Bits to disclose for `length` bits with this error rate and some standard deviations more."""
    deviation = sqrt(rate * (1 - rate) / length)
    slope = log2((1 - rate) / rate)
    ideal = entropy(rate)
    overhead = _OVERHEAD + _OVERHEAD_SLOPE / ideal
    return overhead * length * (ideal + margin * slope * deviation)
