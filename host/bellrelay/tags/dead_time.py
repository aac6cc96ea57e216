"""Dead time of detectors, non-extending or extending."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["dead_cells", "kept_clicks", "starts_dead_interval"]


def kept_clicks(
    t: NDArray[np.int64],
    detector: NDArray[np.uint8],
    dead_time_ps: Sequence[int],
    extending: Sequence[bool],
) -> NDArray[np.bool_]:
    """Which clicks the dead time leaves.

    Non-extending: kept if it comes `dead_time_ps` or more after the last kept click of its
    detector; extending: after the last click of it, kept or not. The first one is kept.

    Parameters
    ----------
    t
        (n,) int64 ps, not decreasing within a detector.
    detector
        (n,) uint8, an index of the two sequences. One beyond their end (the sync input) has no
        dead time.

    Returns
    -------
    (n,) bool.
    """
    kept = np.ones(t.size, dtype=np.bool_)
    last: dict[int, int] = {}
    for i, (time, d) in enumerate(zip(t.tolist(), detector.tolist(), strict=True)):
        if d >= len(dead_time_ps):
            continue
        kept[i] = d not in last or time - last[d] >= dead_time_ps[d]
        if kept[i] or extending[d]:
            last[d] = time
    return kept


def starts_dead_interval(
    kept: NDArray[np.bool_], detector: NDArray[np.uint8], extending: Sequence[bool]
) -> NDArray[np.bool_]:
    """Which clicks make their detector dead: the kept ones, and where it extends, every one.

    Returns
    -------
    (n,) bool, false for what is no detector.
    """
    every = np.zeros(256, dtype=np.bool_)
    every[: len(extending)] = extending
    return (kept | every[detector]) & (detector < len(extending))


def dead_cells(t: NDArray[np.int64], dead_time_ps: int, clock_period_ps: int, end_cell: int) -> int:
    """Number of cells before `end_cell` whose start lies strictly inside a dead interval.

    Parameters
    ----------
    t
        (n,) int64 ps on the raw axis, not decreasing: the clicks of one detector that start a
        dead interval. Cell `c` counts if `t < c P < t + D` for any of them, once.
    """
    first = t // clock_period_ps + 1
    end = np.minimum(-(-(t + dead_time_ps) // clock_period_ps), end_cell)
    return union_length(first, end)


def union_length(first: NDArray[np.int64], end: NDArray[np.int64]) -> int:
    """Integers in the union of half-open intervals whose beginnings do not decrease."""
    if first.size == 0:
        return 0
    covered = np.maximum.accumulate(end)
    begin = np.maximum(first[1:], covered[:-1])
    return int(max(0, end[0] - first[0]) + np.maximum(0, end[1:] - begin).sum())
