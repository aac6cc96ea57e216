"""Where in the slot the pulses arrive: maximum likelihood on an arrival-time histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pulse_shape import PulseShape

__all__ = ["PulsePositions", "TooFewCounts", "fit_pulses", "slot_counts"]

Floats = NDArray[np.float64]

_STEPS = 60
_DONE = 1e-2
"""Steps below this share of an error bar end the search."""


_STRAY = 1e-4
"""Share of the light that may lie anywhere: a count far out must not pull at the pulses."""
_OVERSHOOT = 8
"""Steps after which they are halved: they go to and fro."""


class TooFewCounts(ValueError):
    """The histogram does not show where the pulses are."""


@dataclass(frozen=True)
class PulsePositions:
    """What a histogram says of its pulses.

    Attributes
    ----------
    position_ps, sigma_position_ps
        (peaks,) float64: centre of every peak in the slot, and its standard error.
    counts
        (peaks,) float64: counts of every peak above the background.
    width_ps, sigma_width_ps
        Standard deviation of the arrival times, common to the peaks, and its standard error; 0 for
        the error of a width that was given.
    shift_ps, sigma_shift_ps
        Common shift of the peaks from where they belong, and its standard error.
    """

    position_ps: Floats
    sigma_position_ps: Floats
    counts: Floats
    width_ps: float
    sigma_width_ps: float
    shift_ps: float
    sigma_shift_ps: float


def slot_counts(counts: NDArray[np.integer], bin_ps: int, period_ps: int) -> NDArray[np.int64]:
    """The bins of a board's histogram that lie in the slot.

    Parameters
    ----------
    counts
        (bins,) of one channel; a board has as many as it was built with.

    Returns
    -------
    (ceil(period / bin),) int64; the last bin may reach past the slot's end.

    Raises
    ------
    ValueError
        The histogram ends before the slot does.
    """
    needed = -(-period_ps // bin_ps)
    if len(counts) < needed:
        raise ValueError(f"{len(counts)} bins of {bin_ps} ps do not span a slot of {period_ps} ps")
    return np.asarray(counts[:needed], np.int64)


def fit_pulses(
    counts: NDArray[np.integer],
    *,
    bin_ps: float,
    period_ps: float,
    centres_ps: Sequence[float],
    width_ps: float,
    background_per_bin: float = 0.0,
    fit_width: bool = False,
) -> PulsePositions:
    """Positions of the pulses in the slot from an arrival-time histogram.

    Counts are Poisson with a mean of `background_per_bin` plus a Gaussian of free position and
    height for every pulse, wrapped around the slot's end. Fisher scoring; the error bars are the
    square roots of the inverse Fisher information at the estimate, the Cramér-Rao bound. For one
    pulse of N counts without background that is ``width / sqrt(N)``.

    A shift is told apart from others up to half of the smallest distance at which the pattern of
    the centres repeats: with two pulses half a slot apart, up to a quarter of the slot.

    Parameters
    ----------
    counts
        (bins,) over one slot, as :func:`slot_counts` gives them.
    bin_ps, period_ps
        Widths of a bin and of the slot.
    centres_ps
        Where the pulses belong, one per peak.
    width_ps
        Standard deviation of arrival times: pulse and jitter together.
    background_per_bin
        Known mean of counts that are no pulse's.
    fit_width
        Whether the width is estimated too; `width_ps` is then where the search begins.

    Raises
    ------
    TooFewCounts
        Fewer than ten counts above the background per peak, or the search does not converge.
    ValueError
        Arguments that make no sense.
    """
    if width_ps <= 0.0 or bin_ps <= 0.0 or background_per_bin < 0.0 or not centres_ps:
        raise ValueError("width and bin must be positive, background >= 0, centres not empty")
    observed = np.asarray(counts, np.float64)
    centres = np.asarray(centres_ps, np.float64)
    n = len(centres)
    shape = PulseShape(len(observed), bin_ps, period_ps)
    signal = float(observed.sum() - background_per_bin * len(observed))
    if signal < 10.0 * n:
        raise TooFewCounts(f"{signal:.0f} counts above the background, for {n} pulses")
    start = coarse_shift(observed, shape, centres, width_ps)
    theta = np.concatenate((np.full(n, signal / n), centres + start, [width_ps]))
    free = 2 * n + int(fit_width)
    floor = max(background_per_bin, _STRAY * signal / len(observed))
    covariance = np.empty((free, free))
    for turn in range(_STEPS):
        mean = np.full(len(observed), float(floor))
        slope = np.zeros((len(observed), 2 * n + 1))
        for k in range(n):
            bins, by_position, by_width = shape.at(theta[n + k], theta[-1])
            mean += theta[k] * bins
            slope[:, k] = bins
            slope[:, n + k] = theta[k] * by_position
            slope[:, -1] += theta[k] * by_width
        slope = slope[:, :free]
        weighted = slope / mean[:, None]
        try:
            covariance = np.linalg.inv(weighted.T @ slope)
        except np.linalg.LinAlgError:
            raise TooFewCounts("the histogram does not tell its pulses apart") from None
        step = covariance @ (weighted.T @ (observed - mean))
        errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        limit = np.concatenate((0.5 * theta[:n], np.full(free - n, 0.5 * theta[-1])))
        step = np.clip(step, -limit, limit) * (1.0 if turn < _OVERSHOOT else 0.5)
        theta[:free] += step
        if np.all(np.abs(step) <= _DONE * np.maximum(errors, 1e-12)):
            break
    else:
        raise TooFewCounts("the positions of the pulses do not converge")
    error = errors[n : 2 * n]
    weight = 1.0 / error**2
    shift = float(np.sum(weight * (theta[n : 2 * n] - centres)) / np.sum(weight))
    # Peaks overlap too little for their positions to be correlated, but a free width counts.
    spread = weight @ covariance[n : 2 * n, n : 2 * n] @ weight / np.sum(weight) ** 2
    return PulsePositions(
        position_ps=theta[n : 2 * n] % period_ps,
        sigma_position_ps=error,
        counts=theta[:n].copy(),
        width_ps=float(theta[-1]),
        sigma_width_ps=float(errors[-1]) if fit_width else 0.0,
        shift_ps=shift,
        sigma_shift_ps=math.sqrt(spread),
    )


def coarse_shift(observed: Floats, shape: PulseShape, centres_ps: Floats, width_ps: float) -> float:
    """Shift by whole bins at which the pattern of the centres fits best, the smallest of equals."""
    pattern = sum(shape.at(float(c), width_ps)[0] for c in centres_ps)
    # Circular correlation; a last bin that reaches past the slot's end is a blur of one bin.
    scores = np.fft.irfft(np.fft.rfft(observed) * np.conj(np.fft.rfft(pattern)), len(observed))
    shifts = np.arange(len(observed))
    shifts = np.where(shifts > len(observed) // 2, shifts - len(observed), shifts)
    # Of two shifts that fit about alike, the smaller one: the link was aligned before.
    good = scores >= 0.8 * scores.max()
    best = shifts[good][np.argmin(np.abs(shifts[good]))]
    near = np.abs(shifts - best) * shape.bin_ps <= 2.0 * width_ps
    return float(shifts[near][np.argmax(scores[near])] * shape.bin_ps)
