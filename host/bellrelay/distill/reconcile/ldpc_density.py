"""Density evolution: how many errors a code of endless length corrects, from its degrees alone.

Discretised as in S.-Y. Chung, G. D. Forney, T. J. Richardson and R. Urbanke, IEEE Commun. Lett. 5,
58 (2001), but that a sum which falls between two steps is shared between them, so that the mean is
kept. Not used to reconcile: it makes the table of `ldpc_degrees` and proves it.
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from bellrelay.tags.compiled import compiled

__all__ = ["Course", "Evolution", "edge_shares", "threshold"]

Floats = NDArray[np.float64]

_STEP = 0.075
_STEPS = 300
"""Log-likelihood ratios k * _STEP nats, for -_STEPS <= k <= _STEPS."""

_CONVERGED = 1e-3
"""Entropy of a message, in bits, from which on convergence is taken for granted."""

_STALLED = 2e-5
_MOST_ITERATIONS = 1500
_ENTROPY = np.log2(1 + np.exp(-_STEP * np.arange(-_STEPS, _STEPS + 1)))


def edge_shares(columns: dict[int, int], rows: float) -> tuple[Floats, Floats]:
    """Shares of the edges by the degree of their column and of their row.

    Parameters
    ----------
    columns
        Number of columns of each degree.
    rows
        Number of rows; their degrees differ by one at most.

    Returns
    -------
    Two float64 arrays whose entry d is the share of the edges at columns (rows) of degree d.
    """
    edges = sum(degree * count for degree, count in columns.items())
    of_columns = np.zeros(max(columns) + 1)
    for degree, count in columns.items():
        of_columns[degree] = degree * count / edges
    mean = edges / rows
    lower = int(mean)
    of_rows = np.zeros(lower + 2)
    of_rows[lower] = (lower + 1 - mean) * lower / mean
    of_rows[lower + 1] = (mean - lower) * (lower + 1) / mean
    return of_columns, of_rows


class Course(NamedTuple):
    """How the entropy of messages changed.

    before: (iterations,) float64 bits, before each iteration. after: (iterations, largest degree)
    float64, after it, of what columns of degree 1, 2, ... say. converged: messages became certain.
    """

    before: Floats
    after: Floats
    converged: bool


class Evolution:
    """Densities of the messages of a code with these shares of edges, see `edge_shares`.

    A density is a float64 array of shape (2 * _STEPS + 1,).
    """

    def __init__(self, of_columns: Floats, of_rows: Floats) -> None:
        self._of_columns = of_columns
        self._of_rows = of_rows

    def course(self, error_rate: float) -> Course:
        """Iterate from the channel's densities until messages are certain, or stay as they are."""
        message = _channel(error_rate)
        before = [float(message @ _ENTROPY)]
        after: list[Floats] = []
        while len(after) < _MOST_ITERATIONS:
            outputs = self.column_outputs(error_rate, self.row_output(message))
            after.append(outputs @ _ENTROPY)
            message = self._of_columns[1:] @ outputs
            # Rounding errors of the sum would be raised to the power of the degrees each time.
            message /= message.sum()
            now = float(message @ _ENTROPY)
            if now < _CONVERGED or now > before[-1] * (1 - _STALLED):
                break
            before.append(now)
        return Course(np.array(before[: len(after)]), np.array(after), now < _CONVERGED)

    def row_output(self, message: Floats) -> Floats:
        """Density of what a row says, if its other edges say `message`."""
        folded = _fold(message)
        powers = {1: folded}

        def power(k: int) -> Floats:
            if k not in powers:
                powers[k] = _join(power(k // 2), power(k - k // 2), *_sums())
            return powers[k]

        degrees = np.flatnonzero(self._of_rows)
        return _unfold(np.sum([self._of_rows[d] * power(int(d) - 1) for d in degrees], axis=0))

    def column_outputs(self, error_rate: float, message: Floats) -> Floats:
        """(largest degree, 2 * _STEPS + 1): what a column of degree row + 1 says on an edge."""
        # Long enough for the sum of two messages.
        size = 4 * _STEPS + 1
        transform = rfft(message, size)
        outputs = np.empty((self._of_columns.size - 1, message.size))
        outputs[0] = _channel(error_rate)
        for k in range(1, outputs.shape[0]):
            total = irfft(rfft(outputs[k - 1], size) * transform, size)
            inside = total[_STEPS : 3 * _STEPS + 1].copy()
            inside[0] += total[:_STEPS].sum()
            inside[-1] += total[3 * _STEPS + 1 :].sum()
            outputs[k] = np.maximum(inside, 0)
        return outputs


def threshold(of_columns: Floats, of_rows: Floats, low: float, high: float) -> float:
    """Largest error rate that is corrected, to 0.1 %; between low, which is, and high, not."""
    evolution = Evolution(of_columns, of_rows)
    while high > low * 1.001:
        middle = (low + high) / 2
        low, high = (middle, high) if evolution.course(middle).converged else (low, middle)
    return low


def _channel(error_rate: float) -> Floats:
    """Density of the binary symmetric channel, if the bit is right."""
    density = np.zeros(2 * _STEPS + 1)
    place = log((1 - error_rate) / error_rate) / _STEP
    whole = int(place)
    for k, share in ((whole, whole + 1 - place), (whole + 1, place - whole)):
        density[_STEPS + k] += (1 - error_rate) * share
        density[_STEPS - k] += error_rate * share
    return density


def _fold(density: Floats) -> Floats:
    """(2, _STEPS + 1): by magnitude, the sum and the difference of both signs."""
    positive, negative = density[_STEPS:].copy(), density[_STEPS::-1].copy()
    positive[0] /= 2
    negative[0] /= 2
    return np.stack([positive + negative, positive - negative])


def _unfold(folded: Floats) -> Floats:
    density = np.zeros(2 * _STEPS + 1)
    density[_STEPS:] += (folded[0] + folded[1]) / 2
    density[_STEPS::-1] += (folded[0] - folded[1]) / 2
    return np.maximum(density, 0)


@lru_cache(maxsize=1)
def _sums() -> tuple[NDArray[np.int64], Floats]:
    """For two magnitudes, where their sum in a check lies: the step below, and how far above it."""
    x = _STEP * np.arange(_STEPS + 1)
    y = x[:, None]
    exact = np.minimum(x, y) + np.log1p(np.exp(-(x + y))) - np.log1p(np.exp(-abs(x - y)))
    place = np.clip(exact / _STEP, 0, _STEPS)
    below = np.minimum(place.astype(np.int64), _STEPS - 1)
    return below, place - below


@compiled
def _join(a: Floats, b: Floats, below: NDArray[np.int64], above: Floats) -> Floats:
    """What a check makes of two folded densities: sums and differences join by themselves."""
    joined = np.zeros_like(a)
    for i in range(a.shape[1]):
        if a[0, i] < 1e-13:
            continue
        for j in range(b.shape[1]):
            k, share = below[i, j], above[i, j]
            of_sums, of_differences = a[0, i] * b[0, j], a[1, i] * b[1, j]
            joined[0, k] += of_sums * (1 - share)
            joined[0, k + 1] += of_sums * share
            joined[1, k] += of_differences * (1 - share)
            joined[1, k + 1] += of_differences * share
    return joined
