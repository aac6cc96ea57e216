"""The gate: early, late or neither."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bin", "Window", "check_windows", "first_opening", "gated"]

Window = tuple[int, int]
"""Start and end in ps, half open; empty where both are equal."""


class Bin(IntEnum):
    """Where in its slot a click lies."""

    OUTSIDE = 0
    EARLY = 1
    LATE = 2


def check_windows(early: Window, late: Window, slot_period_ps: int) -> None:
    """Raise ValueError unless both windows lie in the slot and apart from each other."""
    for name, (start, end) in (("early", early), ("late", late)):
        if not 0 <= start <= end <= slot_period_ps:
            raise ValueError(
                f"{name} is [{start}, {end}]; allowed: 0 <= start <= end <= {slot_period_ps}"
            )
    empty = early[0] == early[1] or late[0] == late[1]
    if not empty and early[0] < late[1] and late[0] < early[1]:
        raise ValueError(f"late is {list(late)}; allowed: apart from early {list(early)}")


def first_opening(early: Window, late: Window) -> int | None:
    """Smallest start of a window that is not empty; None if both are."""
    return min((start for start, end in (early, late) if start < end), default=None)


def gated(position: NDArray[np.int64], early: Window, late: Window) -> NDArray[np.uint8]:
    """Bin of each click.

    Parameters
    ----------
    position
        (n,) int64 ps in the slot.

    Returns
    -------
    (n,) uint8 of :class:`Bin`.
    """
    out = np.full(position.size, Bin.OUTSIDE, dtype=np.uint8)
    out[(early[0] <= position) & (position < early[1])] = Bin.EARLY
    out[(late[0] <= position) & (position < late[1])] = Bin.LATE
    return out
