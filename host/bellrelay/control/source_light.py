"""How much of a source's light comes back as clicks, in tracking slots; also if none does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pulse_positions import TooFewCounts
from .source_delay import SentClicks

__all__ = ["SourceLight", "source_light"]


@dataclass(frozen=True)
class SourceLight:
    """Clicks per slot with one source's mean intensity, less those of all else.

    value, sigma : and its standard error. transmittance, sigma_transmittance : clicks per photon
    sent, from the source to the click. slots : in which that was looked at.
    """

    value: float
    sigma: float
    transmittance: float
    sigma_transmittance: float
    slots: int


def source_light(clicks: SentClicks, intensities: NDArray[np.float64]) -> SourceLight:
    """Slope of clicks per slot by the intensity sent: what does not go with it is not ours.

    Weighted least squares; where the clicks come in the slot is not looked at, so that light in the
    wrong place, or none, is measured as well. No light has an error bar as well: the variance of a
    count is the count and one.

    Raises
    ------
    TooFewCounts
        Settings that do not tell the source from the rest.
    """
    slots = clicks.slots.astype(np.float64)
    sent = slots > 0
    slots, strength = slots[sent], np.asarray(intensities, np.float64)[sent]
    counts = clicks.counts.sum(axis=1)[sent].astype(np.float64)
    if len(slots) < 2 or np.ptp(strength) <= 0.0:
        raise TooFewCounts("one intensity does not tell a source from the rest")
    weight = slots**2 / (counts + 1.0)
    total = weight.sum()
    middle = float(weight @ strength / total)
    spread = float(weight @ (strength - middle) ** 2)
    slope = float(weight @ ((strength - middle) * (counts / slots))) / spread
    error = 1.0 / math.sqrt(spread)
    mean = float(slots @ strength / slots.sum())
    return SourceLight(slope * mean, error * mean, slope, error, int(slots.sum()))
