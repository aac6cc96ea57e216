"""What Cascade's loops read and carry on, for all frames of a block, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DONE",
    "FAILED",
    "HALVING",
    "PASSES",
    "SUBSET",
    "SUBSETS",
    "CascadePlan",
    "CascadeState",
    "new_state",
    "words_for",
]

PASSES = 3

SUBSETS = 16
"""Random subsets of a frame whose parities are compared: 2^-16 of wrong frames pass them all."""

# Stage of a frame: the pass in whose odd blocks it searches, or one of these.
SUBSET = PASSES  # it searches in an odd subset
HALVING = PASSES + 1  # it splits the largest nodes of the first pass
DONE = PASSES + 2
FAILED = PASSES + 3


class CascadePlan(NamedTuple):
    """What the frames of a block share; N is the length of the longest, in bits.

    A frame's bits stand in the order of the first pass, and from there in that of another:
    order: (2, N) int32, first-pass place of the bit at each place of the second and third pass.
    place: (2, N) int32, the inverse. mask: (SUBSETS, W) uint64, members of each subset by
    first-pass place. member: (N,) uint16, bit t: whether the bit is in subset t. lengths: (frames,)
    int64, N or N - 1; the bit that a frame lacks is last in the first pass and 0 on both sides.
    """

    order: NDArray[np.int32]
    place: NDArray[np.int32]
    mask: NDArray[np.uint64]
    member: NDArray[np.uint16]
    lengths: NDArray[np.int64]


class CascadeState(NamedTuple):
    """One side's bits, and what both know of where errors are; it follows from the transcript.

    Each pass cuts a frame into *nodes*, intervals [k 2^l, (k+1) 2^l) of its places, of which it is
    known whether they hold an odd number of errors. A node is split when it is searched.

    words: (frames, 3, W) uint64, bits in each pass's order; place p: bit p mod 64 of word p // 64.
    level: (frames, 3, N) uint8, at a node's first place its level l; elsewhere without meaning.
    odd: (frames, 3, W) uint64, at a node's first place whether the node is odd; elsewhere 0.
    odd_count: (frames, 3) int64, number of odd nodes. top: (3,) int64, the highest level there is.
    active: (frames, N) int32, first places of the nodes under search; n_active: (frames,) int64.
    stage: (frames,) int64. subset: (frames,) int64, the one under search; subset_level: (frames,)
    int64, level of the interval of it that is searched. subset_odd: (frames,) uint64, bit t: odd.
    disclosed: (frames,) int64, parities that were asked. corrected: (frames,) int64, errors found.
    limit: (frames,) int64, errors above which a frame takes its first-pass nodes for too large;
    split_level: (frames,) int64, the level at which it splits them then.
    """

    words: NDArray[np.uint64]
    level: NDArray[np.uint8]
    odd: NDArray[np.uint64]
    odd_count: NDArray[np.int64]
    top: NDArray[np.int64]
    active: NDArray[np.int32]
    n_active: NDArray[np.int64]
    stage: NDArray[np.int64]
    subset: NDArray[np.int64]
    subset_level: NDArray[np.int64]
    subset_odd: NDArray[np.uint64]
    disclosed: NDArray[np.int64]
    corrected: NDArray[np.int64]
    limit: NDArray[np.int64]
    split_level: NDArray[np.int64]


def words_for(bits: int) -> int:
    """Words of 64 bits that hold so many bits."""
    return -(-bits // 64)


def new_state(words: NDArray[np.uint64], length: int) -> CascadeState:
    """The state before the first question; words: as in `CascadeState`, length: N."""
    frames = words.shape[0]
    return CascadeState(
        words=words,
        level=np.empty((frames, PASSES, length), np.uint8),
        odd=np.zeros(words.shape, np.uint64),
        odd_count=np.zeros((frames, PASSES), np.int64),
        top=np.zeros(PASSES, np.int64),
        active=np.empty((frames, length), np.int32),
        n_active=np.zeros(frames, np.int64),
        stage=np.zeros(frames, np.int64),
        subset=np.zeros(frames, np.int64),
        subset_level=np.zeros(frames, np.int64),
        subset_odd=np.zeros(frames, np.uint64),
        disclosed=np.zeros(frames, np.int64),
        corrected=np.zeros(frames, np.int64),
        limit=np.zeros(frames, np.int64),
        split_level=np.zeros(frames, np.int64),
    )
