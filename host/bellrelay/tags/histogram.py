"""Arrival times in the slot, binned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["arrival_histogram"]


def arrival_histogram(
    position: NDArray[np.int64],
    channel: NDArray[np.uint8],
    *,
    bin_ps: int,
    n_bins: int,
    n_channels: int,
) -> NDArray[np.int64]:
    """Count tags by channel and `position // bin_ps`; bins at or beyond `n_bins` are passed over.

    Parameters
    ----------
    position
        (n,) int64 ps, not negative.
    channel
        (n,) uint8, below `n_channels`.

    Returns
    -------
    (n_channels, n_bins) int64.
    """
    index = position // bin_ps
    inside = index < n_bins
    flat = channel[inside].astype(np.int64) * n_bins + index[inside]
    return np.bincount(flat, minlength=n_channels * n_bins).reshape(n_channels, n_bins)
