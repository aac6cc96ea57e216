"""What the loops of the chain read, carry on and write: plan, state and results as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BEFORE",
    "BLIND_UNTIL",
    "CODE_BITS",
    "DEAD_TIME",
    "EARLY",
    "FRAME_SLOT",
    "FRAME_START",
    "IGNORED",
    "JOINT",
    "LATE",
    "LATEST",
    "LONGEST_FRAME_PS",
    "LONG_AGO",
    "NO_CHANNEL",
    "NO_FRAME",
    "N_FATES",
    "N_SCALARS",
    "OUTSIDE",
    "OUT_OF_ORDER",
    "PAST_FRAME",
    "RANK_BITS",
    "RANK_MASK",
    "SLOT",
    "SLOT_BLIND",
    "SLOT_INDEX",
    "SYNC",
    "ChainPlan",
    "ChainState",
    "Written",
]

NO_CHANNEL = 255
"""Rank of a channel that the analysis does not know."""

RANK_BITS = 3
"""A tag in order is one key, `time << RANK_BITS | rank`: keys ascend as tags do."""

RANK_MASK = (1 << RANK_BITS) - 1

CODE_BITS = 6
"""What a tag did is one code, `what << 4 | not live << 3 | rank`.

`what` is suppressed, outside, early or late (0 to 3); of a sync tag only the rank counts.
"""

JOINT = 1 << 7
"""Mark above a code: the tag lies in the slot of the tag before."""

LONGEST_FRAME_PS = 1 << 46
"""Frames up to this length, 70 s, go the fast way."""

LONG_AGO = -(1 << 59)
"""A time before all others."""

NO_FRAME = 1 << 59
"""Frame start before there is a frame; the largest time is below."""

# Scalars of the state.
LATEST = 0  # latest raw time seen
FRAME_START, FRAME_SLOT = 1, 2  # time and slot number at which the frame of slots begins
SLOT, SLOT_INDEX, SLOT_BLIND = 3, 4, 5  # the open slot: number, table index, not live
BLIND_UNTIL = 6  # latest end of a dead interval
SYNC, IGNORED, OUT_OF_ORDER = 7, 8, 9
N_SCALARS = 10

# Fates of a click, columns of the counts.
DEAD_TIME, BEFORE, PAST_FRAME, OUTSIDE, EARLY, LATE = 0, 1, 2, 3, 4, 5
N_FATES = 6


class ChainPlan(NamedTuple):
    """Settings as the loops read them.

    Rank 0 is sync, rank d + 1 detector d. rank_of: (256,) uint8, deskew_of: (256,) int64 and
    offset: (256,) int64, by channel; `offset` is what a raw time in units of a key lacks of a key,
    very negative where the channel is unknown. channels, offsets: the known channels, and `offset`
    of each, filled up with a channel that no tag has. settle_ps: how far a tag may still come
    before the latest raw time. slots_per_frame 0 stands for the slot clock. windows: (4,) int64,
    early and late; opening: the smallest start of one. dead_time, extending: (n_detectors,);
    longest_dead, one_dead_time: the greatest dead time, and whether all have it. bits:
    (n_detectors, 3) int64 by bin (outside: 0). cell: (1 << CODE_BITS,) int64 by code, the bit with
    the not-live mark above the table's indices; joined: (1 << 2 * CODE_BITS,) int32, the same for a
    slot with two tags, by both codes. codes: class codes by table index, and bell: whether it is a
    Bell class. bin_ps 0: no histogram.
    """

    rank_of: NDArray[np.uint8]
    deskew_of: NDArray[np.int64]
    offset: NDArray[np.int64]
    channels: tuple[int, ...]
    offsets: tuple[int, ...]
    reorder_ps: int
    settle_ps: int
    slot_period: int
    frame_length: int
    slots_per_frame: int
    phase: int
    windows: NDArray[np.int64]
    opening: int
    dead_time: NDArray[np.int64]
    longest_dead: int
    one_dead_time: bool
    extending: NDArray[np.bool_]
    bits: NDArray[np.int64]
    cell: NDArray[np.int64]
    joined: NDArray[np.int32]
    codes: NDArray[np.uint8]
    bell: NDArray[np.bool_]
    bin_ps: int


class ChainState(NamedTuple):
    """All that one call leaves to the next; as good as immutable: calls work on copies.

    scalars: (N_SCALARS,) int64. last: (n_detectors,) int64, the last click that starts a dead
    interval. counts: (n_detectors, N_FATES) int64. slots: (2, entries of the table) int64, slots
    by liveness and table index; index 0 is meaningless. histogram: (n_detectors, bins) int64.
    wait: (n,) int64, keys of the tags, in order, that may still have to let an earlier one pass.
    """

    scalars: NDArray[np.int64]
    last: NDArray[np.int64]
    counts: NDArray[np.int64]
    slots: NDArray[np.int64]
    histogram: NDArray[np.int64]
    wait: NDArray[np.int64]


class Written(NamedTuple):
    """Room for Bell slots: slot (n,) uint64, table index (n,) int32, not live (n,) bool."""

    slot: NDArray[np.uint64]
    pattern: NDArray[np.int32]
    blind: NDArray[np.bool_]
