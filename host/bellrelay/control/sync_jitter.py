"""Synchronisation jitter, in picoseconds: from the width of the pulses, and from sync tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Jitter", "jitter_from_tags", "jitter_from_width"]

_TAG_RESOLUTION = 1.0 / 12.0
"""Variance of a whole number of picoseconds."""


@dataclass(frozen=True)
class Jitter:
    """Standard deviation in ps, its standard error, and what it certainly (95 %) is below."""

    rms_ps: float
    sigma_ps: float
    below_ps: float


def _of_variance(variance: float, error: float) -> Jitter:
    below = math.sqrt(max(variance + 1.645 * error, 0.0))
    if variance <= error:
        # Not seen: half of what it may be, give or take that.
        return Jitter(math.sqrt(max(variance, 0.0)), below / 2.0, below)
    rms = math.sqrt(variance)
    return Jitter(rms, error / (2.0 * rms), below)


def jitter_from_width(
    width_ps: float,
    sigma_width_ps: float,
    *,
    pulse_ps: float,
    detector_ps: float,
    sigma_known_ps: float = 0.0,
) -> Jitter:
    """What is left of the arrival times' width when pulse and detector are taken out of it.

    Parameters
    ----------
    width_ps, sigma_width_ps
        Fitted standard deviation of arrival times, and its standard error.
    pulse_ps, detector_ps
        Standard deviations of the pulses sent and of the detector with its tagger, as calibrated.
    sigma_known_ps
        Standard error of each of these two.
    """
    variance = width_ps**2 - pulse_ps**2 - detector_ps**2
    error = 2.0 * math.sqrt(
        (width_ps * sigma_width_ps) ** 2
        + (pulse_ps * sigma_known_ps) ** 2
        + (detector_ps * sigma_known_ps) ** 2
    )
    return _of_variance(variance, error)


def jitter_from_tags(phases_ps: Sequence[float]) -> Jitter | None:
    """Scatter of single sync tags, whatever phase and rate do in the meantime.

    Second differences of phases at equal distances are free of both; those of white jitter have six
    times its variance. The tags' own resolution of a picosecond is taken out.

    Parameters
    ----------
    phases_ps
        Eight or more in order; None with fewer.
    """
    if len(phases_ps) < 8:
        return None
    bend = np.diff(np.asarray(phases_ps, np.float64), 2)
    variance = float(np.mean(bend**2)) / 6.0 - _TAG_RESOLUTION
    # Neighbouring second differences share tags: 35/18 as many are needed as if they did not.
    error = (variance + _TAG_RESOLUTION) * math.sqrt(2.0 * (35.0 / 18.0) / len(bend))
    return _of_variance(variance, error)
