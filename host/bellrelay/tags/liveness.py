"""Which slots are live: those in which no detector was dead from an earlier slot on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dead_time import union_length

__all__ = ["BlindSlots", "blind_slots"]


class BlindSlots:
    """The slots that are not live, as intervals.

    Parameters
    ----------
    first, end
        (n,) int64: half-open intervals of slots, in any order; they may overlap or be empty.
    """

    def __init__(self, first: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        order = np.argsort(first, kind="stable")
        self._first = first[order]
        self._end = end[order]
        self._covered = np.maximum.accumulate(self._end)

    def count(self, n_slots: int) -> int:
        """How many of the slots below `n_slots` are not live."""
        return union_length(self._first, np.minimum(self._end, n_slots))

    def contains(self, slot: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each slot is not live; (n,) bool."""
        index = np.searchsorted(self._first, slot, side="right") - 1
        found = index >= 0
        out = np.zeros(slot.size, dtype=np.bool_)
        out[found] = self._covered[index[found]] > slot[found]
        return out


def blind_slots(
    slot: NDArray[np.int64],
    v: NDArray[np.int64],
    dead_time_ps: NDArray[np.int64],
    slot_period_ps: int,
    opening_ps: int | None,
) -> BlindSlots:
    """Slots after that of a click in which its detector is still dead when a window opens.

    Slot s is not live if `s T + w < v + D` for a click of an earlier slot: a click never blinds
    its own slot.

    Parameters
    ----------
    slot, v
        (n,) int64: slot and reference time (ps) of the clicks that start a dead interval.
    dead_time_ps
        (n,) int64: D of their detectors.
    opening_ps
        w, the smallest start of a window that is not empty; None if there is none: all are live.
    """
    if opening_ps is None:
        none = np.zeros(0, dtype=np.int64)
        return BlindSlots(none, none)
    end = (v + dead_time_ps - opening_ps - 1) // slot_period_ps + 1
    return BlindSlots(slot + 1, end)
