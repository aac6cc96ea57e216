"""A histogram of one period, looked at: positions, background, and whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pulse_positions import PulsePositions, TooFewCounts, fit_pulses, slot_counts

__all__ = ["PulseMeasurement", "measure_pulses"]

_FAR = 5.0
"""Widths from every pulse beyond which all counts are background."""
_NEAR = 3.0
_BLURRED = 0.6
"""Share of the light near the pulses below which they are a blur."""
_DELTA = 2.0


@dataclass(frozen=True)
class PulseMeasurement:
    """Positions of the pulses; background_per_bin is what lies between them."""

    positions: PulsePositions
    background_per_bin: float
    contrast: float
    """Share of the light, background aside, within three widths of the pulses."""


def measure_pulses(
    histogram: NDArray[np.integer],
    *,
    bin_ps: int,
    period_ps: int,
    centres_ps: Sequence[float],
    width_ps: float,
    fit_width: bool = False,
) -> PulseMeasurement:
    """Positions of the pulses, with the background taken from between them.

    Parameters
    ----------
    histogram
        (bins,) of one period, as the board sends it or of several detectors added up.

    Raises
    ------
    TooFewCounts
        Too dark, or no pulses: a blur, as with a clock that is not locked.
    ValueError
        As :func:`~.pulse_positions.slot_counts`.
    """
    counts = slot_counts(histogram, bin_ps, period_ps)
    middle = (np.arange(len(counts)) + 0.5) * bin_ps
    background = 0.0
    for _ in range(3):
        found = fit_pulses(
            counts,
            bin_ps=bin_ps,
            period_ps=period_ps,
            centres_ps=centres_ps,
            width_ps=width_ps,
            background_per_bin=background,
            fit_width=fit_width,
        )
        away = np.min(
            [
                np.abs((middle - p + period_ps / 2) % period_ps - period_ps / 2)
                for p in found.position_ps
            ],
            axis=0,
        )
        width = found.width_ps
        far = away > min(_FAR * width, 0.5 * float(away.max()))
        before, background = background, float(counts[far].mean()) if far.any() else 0.0
        if abs(background - before) <= 1e-3 * max(background, 1e-9):
            break
    light = float(counts.sum()) - background * len(counts)
    near = away <= _NEAR * width
    contrast = float(counts[near].sum() - background * np.count_nonzero(near)) / max(light, 1e-9)
    # A flat histogram has as much near as elsewhere, whatever the background was taken to be.
    flat = float(np.count_nonzero(near)) / len(counts)
    enough = counts[near].sum() > _DELTA * flat * counts.sum()
    if contrast < _BLURRED or not enough:
        raise TooFewCounts(f"no pulses: {contrast:.0%} of the light lies near where they would be")
    return PulseMeasurement(found, background, contrast)
