"""From bitmaps to classes and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import SlotClass, outcome_of_class

__all__ = ["BELL_CLASSES", "classes_of", "outcomes_of", "pair_counts"]

BELL_CLASSES = (
    SlotClass.PSI_MINUS,
    SlotClass.PSI_PLUS_SAME_DETECTOR,
    SlotClass.PSI_PLUS_TWO_DETECTORS,
)
_OUTCOME = np.array([outcome_of_class(c) or 0 for c in SlotClass], dtype=np.uint8)


def classes_of(
    mask: NDArray[np.int64],
    multi: NDArray[np.bool_],
    not_live: NDArray[np.bool_],
    table: Sequence[int],
    announce_not_live: bool = False,
) -> NDArray[np.uint8]:
    """Class of slots with a bitmap that is not empty.

    Parameters
    ----------
    mask, multi
        (n,) int64 bitmaps and (n,) bool.
    not_live
        (n,) bool; takes Bell classes to NOT_LIVE unless `announce_not_live`.
    table
        Codes by `bitmap | multi << 2N`, length `2**(2N + 1)`.

    Returns
    -------
    (n,) uint8 of :class:`~bellrelay.wire.outcomes.SlotClass`.
    """
    codes = np.asarray(table, dtype=np.uint8)
    out: NDArray[np.uint8] = codes[mask | multi.astype(np.int64) * (codes.size // 2)]
    if not announce_not_live:
        out[not_live & np.isin(out, BELL_CLASSES)] = SlotClass.NOT_LIVE
    return out


def outcomes_of(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Outcome announced for each class, 0 for none; (n,) uint8."""
    outcomes: NDArray[np.uint8] = _OUTCOME[classes]
    return outcomes


def pair_counts(mask: NDArray[np.int64], n_detectors: int) -> dict[tuple[int, int], int]:
    """For every pair of detectors i < j the number of bitmaps in which both have a bit."""
    clicked = mask | mask >> n_detectors
    return {
        (i, j): int(np.count_nonzero((clicked >> i & 1) & (clicked >> j & 1)))
        for i, j in combinations(range(n_detectors), 2)
    }
