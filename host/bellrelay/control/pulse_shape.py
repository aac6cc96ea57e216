"""A Gaussian pulse in the bins of a slot, and how it changes with position and width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["PulseShape"]

Floats = NDArray[np.float64]

_DENSITY = 1.0 / np.sqrt(2.0 * np.pi)
_REACH = 8.0
"""Widths beyond which a pulse has no light."""


class PulseShape:
    """Bins of one slot; what leaves it at one end comes in at the other.

    Parameters
    ----------
    n_bins, bin_ps
        Bins from the slot's start on.
    period_ps
        The slot. The last bin may reach past it, and then counts only what lies before.
    """

    def __init__(self, n_bins: int, bin_ps: float, period_ps: float) -> None:
        self.bin_ps = bin_ps
        self.period_ps = period_ps
        self.edges_ps: Floats = np.minimum(np.arange(n_bins + 1) * bin_ps, period_ps)

    def at(self, position_ps: float, width_ps: float) -> tuple[Floats, Floats, Floats]:
        """Share of a pulse in every bin, and its derivatives by position and by width.

        Returns
        -------
        share, by_position, by_width
            (bins,) float64 each; the latter two per picosecond.
        """
        centre = position_ps % self.period_ps
        share = np.zeros(len(self.edges_ps) - 1)
        by_position, by_width = np.zeros_like(share), np.zeros_like(share)
        for turn in (-1, 0, 1):
            z = (self.edges_ps - centre - turn * self.period_ps) / width_ps
            if z[0] > _REACH or z[-1] < -_REACH:
                continue
            density = _DENSITY * np.exp(-0.5 * z * z)
            share += np.diff(ndtr(z))
            by_position -= np.diff(density) / width_ps
            by_width -= np.diff(z * density) / width_ps
        return share, by_position, by_width
