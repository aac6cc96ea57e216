"""Finds the pulses in a slot's histogram where nobody knows yet where they are.

:mod:`.pulse_positions` starts from where pulses belong. A board whose deskew, phase or windows are
wrong has them elsewhere; here the highest peaks are looked for first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .pulse_monitor import PulseMeasurement, measure_pulses
from .pulse_positions import TooFewCounts, slot_counts

__all__ = ["find_pulses", "nearest_turn"]

_LEAST = 200
_APART = 0.2
"""Share of the slot by which pulses are apart at least."""


def find_pulses(
    histogram: NDArray[np.integer],
    *,
    bin_ps: int,
    period_ps: int,
    near_ps: Sequence[float],
) -> tuple[PulseMeasurement, tuple[float, ...]]:
    """Fit as many pulses as there are places that they are near to.

    Parameters
    ----------
    histogram
        (bins,) of one detector, or of several added up.
    near_ps
        Where they would be, ascending. Pulses are given to these places in turn, so that the
        whole is shifted least: light that repeats within the slot looks the same when it is
        shifted by that.

    Returns
    -------
    measurement
        Its positions are in the order of `near_ps`.
    shifts
        By how much each lies later than its place, between plus and minus half a slot about.

    Raises
    ------
    TooFewCounts
        No such pulses are seen.
    """
    counts = slot_counts(histogram, bin_ps, period_ps).astype(np.float64)
    if counts.sum() < _LEAST * len(near_ps):
        raise TooFewCounts(f"{counts.sum():.0f} counts, for {len(near_ps)} pulses")
    width, centres = _peaks(counts, bin_ps, period_ps, len(near_ps))
    turns = [_in_turn(centres, k, near_ps, period_ps) for k in range(len(centres))]
    order = min(turns, key=lambda turn: sum(abs(shift) for _, shift in turn))
    measured = measure_pulses(
        histogram,
        bin_ps=bin_ps,
        period_ps=period_ps,
        centres_ps=[centre for centre, _ in order],
        width_ps=width,
        fit_width=True,
    )
    shifts = tuple(
        nearest_turn(float(found) - centre, period_ps) + shift
        for found, (centre, shift) in zip(measured.positions.position_ps, order, strict=True)
    )
    return measured, shifts


def nearest_turn(difference_ps: float, period_ps: float) -> float:
    """The same within half a period of 0."""
    return (difference_ps + period_ps / 2) % period_ps - period_ps / 2


def _peaks(
    counts: NDArray[np.float64], bin_ps: int, period_ps: int, number: int
) -> tuple[float, list[float]]:
    """Width, and the peaks' centres ascending."""
    at = (np.arange(len(counts)) + 0.5) * bin_ps
    away = np.minimum(at - at[0], period_ps - (at - at[0]))
    kernel = np.exp(-0.5 * (away / (2.0 * bin_ps + 0.005 * period_ps)) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(counts) * np.conj(np.fft.rfft(kernel)), len(counts))
    floor = float(np.median(counts))
    left = smooth.copy()
    centres, squares = [], []
    for _ in range(number):
        peak = at[int(np.argmax(left))]
        off = (at - peak + period_ps / 2) % period_ps - period_ps / 2
        near = np.abs(off) < 0.1 * period_ps
        light = np.maximum(counts[near] - floor, 0.0)
        if light.sum() <= 0.0:
            raise TooFewCounts("the light shows no pulses")
        mean = float(np.average(off[near], weights=light))
        squares.append(float(np.average((off[near] - mean) ** 2, weights=light)))
        centres.append((peak + mean) % period_ps)
        left[np.abs(off) < _APART * period_ps] = -np.inf
    width = float(np.sqrt(np.median(squares)))
    return min(max(width, 0.5 * bin_ps), 0.1 * period_ps), sorted(centres)


def _in_turn(
    centres: Sequence[float], first: int, near_ps: Sequence[float], period_ps: float
) -> list[tuple[float, float]]:
    """Centres beginning with one of them, and how far each is from its place."""
    order = [*centres[first:], *centres[:first]]
    return [
        (centre, nearest_turn(centre - place, period_ps))
        for centre, place in zip(order, near_ps, strict=True)
    ]
