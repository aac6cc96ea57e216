"""Slots counted from sync tags, for recorded tags."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["SyncFate", "slots_from_sync"]


class SyncFate(IntEnum):
    """Whether a click has a slot."""

    IN_SLOT = 0
    BEFORE_SYNC = 1
    PAST_FRAME = 2


def slots_from_sync(
    t: NDArray[np.int64],
    sync_t: NDArray[np.int64],
    slot_period_ps: int,
    slots_per_pulse: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Slot and position of clicks after the last sync tag at or before them.

    Parameters
    ----------
    t
        (n,) int64 ps.
    sync_t
        (m,) int64 ps, not decreasing.
    slot_period_ps
        T.
    slots_per_pulse
        N: the frame of a sync tag has the slots `[j N, (j + 1) N)`, j its number from 0.

    Returns
    -------
    slot, position
        (n,) int64 each; -1 where there is no slot.
    fate
        (n,) uint8 of :class:`SyncFate`.
    """
    pulse = np.searchsorted(sync_t, t, side="right") - 1
    before = pulse < 0
    start = np.zeros(t.size, dtype=np.int64)
    start[~before] = sync_t[pulse[~before]]
    within, position = np.divmod(t - start, slot_period_ps)
    past = ~before & (within >= slots_per_pulse)
    fate = np.where(before, SyncFate.BEFORE_SYNC, np.where(past, SyncFate.PAST_FRAME, 0))
    lost = before | past
    slot = np.where(lost, -1, pulse * slots_per_pulse + within)
    return slot, np.where(lost, -1, position), fate.astype(np.uint8)
