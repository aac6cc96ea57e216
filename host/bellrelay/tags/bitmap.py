"""The bitmap of a slot: which detectors clicked in which bin."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .gate import Bin

__all__ = ["SlotBitmaps", "slot_bitmaps"]

_Slot = TypeVar("_Slot", np.int64, np.uint64)


class SlotBitmaps(NamedTuple):
    """Slots with at least one gated click, ascending.

    slot: (n,) integers; mask: (n,) int64, bit `d` early, `n_detectors + d` late; multi: (n,) bool,
    whether a cell of the slot was hit more than once.
    """

    slot: NDArray[np.int64] | NDArray[np.uint64]
    mask: NDArray[np.int64]
    multi: NDArray[np.bool_]


def slot_bitmaps(
    slot: NDArray[_Slot], detector: NDArray[np.uint8], bins: NDArray[np.uint8], n_detectors: int
) -> SlotBitmaps:
    """Collect clicks into bitmaps.

    Parameters
    ----------
    slot
        (n,) int64 or uint64, in any order.
    detector
        (n,) uint8, below `n_detectors`.
    bins
        (n,) uint8 of :class:`~bellrelay.tags.gate.Bin`; clicks outside are passed over.
    """
    inside = bins != Bin.OUTSIDE
    cell = detector[inside] + n_detectors * (bins[inside] == Bin.LATE).astype(np.int64)
    slots, index = np.unique(slot[inside], return_inverse=True)
    hits = np.zeros((slots.size, 2 * n_detectors), dtype=np.int64)
    np.add.at(hits, (index, cell), 1)
    weights = np.int64(1) << np.arange(2 * n_detectors, dtype=np.int64)
    mask = (hits > 0) @ weights
    return SlotBitmaps(slots, mask, np.asarray((hits > 1).any(axis=1)))
