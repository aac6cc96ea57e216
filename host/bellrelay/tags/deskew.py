"""Deskew: the delay of each channel taken off, and the order by time restored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["deskewed", "time_order"]


def deskewed(
    t: NDArray[np.int64], channel: NDArray[np.uint8], delay_ps: Sequence[int]
) -> NDArray[np.int64]:
    """Times less the delay of their channel, in the order of the input.

    Parameters
    ----------
    t
        (n,) int64 ps.
    channel
        (n,) uint8, an index of `delay_ps`.
    delay_ps
        Delay of every channel, signed.

    Returns
    -------
    (n,) int64 ps; may be negative.
    """
    return t - np.asarray(delay_ps, dtype=np.int64)[channel]


def time_order(t: NDArray[np.int64], channel: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Stable order by (time, channel): `t[order]` does not decrease.

    Returns
    -------
    (n,) intp.
    """
    return np.lexsort((channel, t))
