"""Coincidences: pairs of tags of two channels at most a window apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["coincidences"]


def coincidences(t_a: NDArray[np.int64], t_b: NDArray[np.int64], window_ps: int) -> int:
    """Number of all pairs (i, j) with `|t_a[i] - t_b[j]| <= window_ps`.

    Parameters
    ----------
    t_a, t_b
        (n,) and (m,) int64 ps, neither decreasing.
    """
    first = np.searchsorted(t_b, t_a - window_ps, side="left")
    end = np.searchsorted(t_b, t_a + window_ps, side="right")
    return int((end - first).sum())
