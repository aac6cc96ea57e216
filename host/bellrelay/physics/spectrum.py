"""What a measured optical spectrum says of a laser: its line, how wide, and what stands beside it.

An optical spectrum analyser gives the power within its resolution bandwidth at points of an axis.
The line is the highest point and what surrounds it down to half of that; its flanks are followed
outwards as long as they fall. What rises again by ``EXCURSION_DB`` is a mode of its own, as
such instruments count peaks: less is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXCURSION_DB", "FEWEST_POINTS", "SPEED_OF_LIGHT", "SpectrumFigures", "spectrum_figures"]

SPEED_OF_LIGHT = 299_792_458.0
"""In vacuum, m/s: wavelengths are vacuum wavelengths."""
EXCURSION_DB = 3.0
FEWEST_POINTS = 5


@dataclass(frozen=True)
class SpectrumFigures:
    """Of one spectrum.

    Parameters
    ----------
    centre_hz
        Middle between the points of half the line's power; the highest point where one of them lies
        outside of what was measured.
    width_hz
        Full width at half maximum, the instrument's resolution included; None where one of the
        points of half power lies outside.
    suppression_db
        Side-mode suppression ratio: the line's highest point over that of the strongest mode beside
        it, dB; None where nothing stands out beside it.
    """

    centre_hz: float
    width_hz: float | None
    suppression_db: float | None

    @property
    def centre_m(self) -> float:
        """Vacuum wavelength of the centre, m."""
        return SPEED_OF_LIGHT / self.centre_hz


def spectrum_figures(
    frequency_hz: NDArray[np.float64], power: NDArray[np.float64]
) -> SpectrumFigures:
    """Centre, width and side-mode suppression of the strongest line.

    Parameters
    ----------
    frequency_hz
        (n,) optical frequencies, strictly rising, Hz; points need not be evenly spaced.
    power
        (n,) power at each of them, W or any other linear unit; what is below 0 (an instrument's
        noise with its mean taken off) counts as 0.

    Raises
    ------
    ValueError
        Fewer than five points, frequencies that do not rise from above 0, numbers that are not
        finite, or no power anywhere.
    """
    f = np.asarray(frequency_hz, np.float64)
    p = np.maximum(np.asarray(power, np.float64), 0.0)
    if f.ndim != 1 or f.shape != p.shape or len(f) < FEWEST_POINTS:
        raise ValueError(f"{len(f)} frequencies, {len(p)} powers; {FEWEST_POINTS} or more of each")
    if not (np.isfinite(f).all() and np.isfinite(p).all()):
        raise ValueError("a number that is not finite")
    if f[0] <= 0.0 or not (np.diff(f) > 0.0).all():
        raise ValueError("frequencies do not rise")
    top = int(np.argmax(p))
    if p[top] <= 0.0:
        raise ValueError("no power anywhere")
    below = _half_power(f[top::-1], p[top::-1])
    above = _half_power(f[top:], p[top:])
    if below is None or above is None:
        centre, width = float(f[top]), None
    else:
        centre, width = 0.5 * (below + above), above - below
    modes = [_highest_mode(p[top:]), _highest_mode(p[top::-1])]
    side = max((m for m in modes if m is not None), default=None)
    return SpectrumFigures(
        centre_hz=centre,
        width_hz=width,
        suppression_db=None if side is None else float(10.0 * np.log10(p[top] / side)),
    )


def _half_power(f: NDArray[np.float64], p: NDArray[np.float64]) -> float | None:
    """Frequency at which the power, from its first point outwards, first falls to half; or None."""
    fallen = np.flatnonzero(p <= 0.5 * p[0])
    if not len(fallen):
        return None
    at = int(fallen[0])
    share = (p[at - 1] - 0.5 * p[0]) / (p[at - 1] - p[at])
    return float(f[at - 1] + share * (f[at] - f[at - 1]))


def _highest_mode(p: NDArray[np.float64]) -> float | None:
    """Highest point that rises by the excursion above a valley between it and the first point."""
    valley = np.minimum.accumulate(p)
    modes = p[(p > 0.0) & (p >= valley * 10.0 ** (EXCURSION_DB / 10.0))]
    return float(modes.max()) if len(modes) else None
