"""Ranges of slots, half open: (k, 2) uint64 arrays of rows [first, end)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Ranges", "clipped", "inside", "kept_ranges", "no_ranges", "slots_in", "union"]

Ranges = NDArray[np.uint64]


def no_ranges() -> Ranges:
    """(0, 2)."""
    return np.empty((0, 2), np.uint64)


def union(*parts: ArrayLike) -> Ranges:
    """Every slot that is in one of them: sorted, disjoint, none empty, none that touch.

    What one sender dropped is dropped of both: their union leaves the pulse pairs sent.

    Raises
    ------
    ValueError
        Not (k, 2), or an end before its first slot.
    """
    rows = [_checked(part) for part in parts]
    every = np.concatenate(rows) if rows else no_ranges()
    every = every[every[:, 1] > every[:, 0]]
    if not len(every):
        return no_ranges()
    every = every[np.argsort(every[:, 0], kind="stable")]
    reach = np.maximum.accumulate(every[:, 1])
    begins = np.concatenate(([True], every[1:, 0] > reach[:-1]))
    ends = np.concatenate((begins[1:], [True]))
    return np.column_stack((every[begins, 0], reach[ends]))


def clipped(ranges: ArrayLike, first: int, end: int) -> Ranges:
    """What of them lies in [first, end), as :func:`union` has it."""
    rows = np.clip(_checked(ranges), np.uint64(first), np.uint64(max(first, end)))
    return union(rows)


def kept_ranges(removed: Ranges, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Of [first, end), what is left of it without the removed ranges within it, in order."""
    for low, high in removed.tolist():
        if first < low:
            yield first, low
        first = high
    if first < end:
        yield first, end


def slots_in(ranges: ArrayLike) -> int:
    """Number of slots in them together."""
    rows = union(ranges)
    return int(np.sum(rows[:, 1] - rows[:, 0], dtype=np.uint64))


def inside(ranges: ArrayLike, slots: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """(n,) bool: which of these slots, (n,), lie in one of them."""
    rows = union(ranges)
    at = np.searchsorted(rows[:, 0], slots, side="right")
    found = np.zeros(slots.shape, np.bool_)
    some = at > 0
    found[some] = slots[some] < rows[at[some] - 1, 1]
    return found


def _checked(ranges: ArrayLike | Iterable[object]) -> Ranges:
    rows = np.asarray(ranges)
    if rows.size == 0:
        return no_ranges()
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(f"ranges have the shape {rows.shape}, not (k, 2)")
    if np.issubdtype(rows.dtype, np.signedinteger) and int(rows.min()) < 0:
        raise ValueError("a range begins below slot 0")
    rows = rows.astype(np.uint64)
    if (rows[:, 1] < rows[:, 0]).any():
        raise ValueError("a range ends before it begins")
    return rows
