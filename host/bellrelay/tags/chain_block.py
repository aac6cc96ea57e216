"""The fast path of the chain: a block of tags in order, in a few loops that hardly branch.

Each loop does one thing for all tags of a block, which stay in the first caches. What the loops
cannot do (a tag without a slot in its frame, a histogram) makes the block void, and
`chain_by_tag` does it tag by tag; both give the same. Times are keys, `time << RANK_BITS | rank`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chain_dense import DENSE_TABLE, follow_dense, leave_dense, open_dense
from .chain_slots import TALLIES, count_codes, join, list_seconds
from .chain_sparse import SparseRoom, follow_sparse, leave_sparse, sparse_room
from .chain_state import (
    BLIND_UNTIL,
    CODE_BITS,
    FRAME_SLOT,
    FRAME_START,
    JOINT,
    NO_FRAME,
    RANK_BITS,
    RANK_MASK,
    SLOT,
    SLOT_BLIND,
    SLOT_INDEX,
    SYNC,
    ChainPlan,
    ChainState,
    Written,
)
from .compiled import compiled, compiled_bare
from .marks import BITS, SPARE

__all__ = ["BLOCK", "Scratch", "advance_block", "scratch"]

BLOCK = 4096
"""Tags per block: with fewer, what is done once a block weighs more than what caches save."""

_VECTOR = 8
"""Times that the widest registers hold."""

_OUTSIDE = 1
"""What a kept click did in its code (`chain_state.CODE_BITS`), if not in a window."""


class Scratch(NamedTuple):
    """Room for what the loops know of a block.

    tally: (TALLIES,) numbers of codes, two by two (a call has not as many tags as would overflow).
    pairs: (1 << 2 * CODE_BITS,) number of slots with two tags, by both codes.
    For each tag, times in units of a key: until, the latest end of a dead interval begun by one
    before, and in the lowest bit whether the tag is kept; frame, start of the frame; code, what
    the tag did, marked `JOINT` if in the slot of the tag before, and 0 after the last tag.
    sync, seconds: positions of sync tags, and of tags that are the second in their slot.
    """

    tally: NDArray[np.uint32]
    pairs: NDArray[np.int64]
    until: NDArray[np.int64]
    frame: NDArray[np.int64]
    code: NDArray[np.uint8]
    sync: NDArray[np.int32]
    seconds: NDArray[np.int32]
    sparse: SparseRoom
    dense: NDArray[np.int64]


@compiled
def scratch() -> Scratch:
    """Room for the blocks of one call."""
    return Scratch(
        np.zeros(TALLIES, dtype=np.uint32),
        np.zeros(1 << 2 * CODE_BITS, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK + _VECTOR, dtype=np.int64),
        np.empty(BLOCK + BITS, dtype=np.uint8),
        np.empty(BLOCK + 1, dtype=np.int32),
        np.empty(BLOCK + SPARE, dtype=np.int32),
        sparse_room(BLOCK),
        np.empty(DENSE_TABLE, dtype=np.int64),
    )


@compiled_bare
def _fill_frames(
    keys: NDArray[np.int64], sync: NDArray[np.int32], frame: np.int64, frames: NDArray[np.int64]
) -> np.int64:
    """Start of the frame at every tag, `frame` before the first sync tag; that after the last."""
    begin = np.int64(0)
    for k in range(sync.size + 1):
        end = np.int64(sync[k] if k < sync.size else keys.size)
        here = frames[begin:]
        # In whole vectors: what is too much will be overwritten.
        for i in range((end - begin + _VECTOR - 1) // _VECTOR * _VECTOR):
            here[i] = frame
        if k < sync.size:
            begin, frame = end, keys[end]
    return frame


@compiled_bare
def _place(keys: NDArray[np.int64], plan: ChainPlan, s: Scratch) -> bool:
    """Code of every tag, without a branch: the compiler makes vectors of it.

    False if one of them has no slot, or not in this frame: then the result is void. The mark
    `JOINT` of the first tag means nothing.
    """
    frame, until, code = s.frame, s.until, s.code
    # All in units of a key: the rank below a time changes neither its slot nor its window.
    unit = float(1 << RANK_BITS)
    period, last = plan.slot_period * unit, (plan.frame_length << RANK_BITS) - 1
    # What lies below the unit in `until` must not count: a time has to lie a unit before it.
    opening = (plan.opening << RANK_BITS) + RANK_MASK
    early_start, early_end = plan.windows[0] * unit, plan.windows[1] * unit
    late_start, late_end = plan.windows[2] * unit, plan.windows[3] * unit
    inverse, lost, before = 1.0 / period, np.int64(0), keys[0]
    for i in range(keys.size):
        key = keys[i]
        since = key - frame[i]
        lost |= since | (last - since)
        in_frame = float(since)
        # Half a unit more, and no rounding reaches a multiple of the period (`LONGEST_FRAME_PS`).
        position = in_frame - np.floor((in_frame + 0.5) * inverse) * period
        early = np.int64((position >= early_start) & (position < early_end))
        late = np.int64((position >= late_start) & (position < late_end))
        start = key - np.int64(position)
        blind = np.uint64(start + opening - until[i]) >> np.uint64(63)
        what = (_OUTSIDE + early + 2 * late) & -(until[i] & 1)
        # A sync tag begins a slot, so that frames need no look.
        joint = np.uint64(start - before - 1) >> np.uint64(63)
        before = key
        code[i] = (key & RANK_MASK) | np.int64(blind) << 3 | what << 4 | np.int64(joint) << 7
    return bool(lost >= 0)


@compiled_bare
def _slot_at(
    at: np.int64,
    n_before: np.int64,
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
) -> np.int64:
    """Number of the slot of the tag at `at`, with `n_before` sync tags up to there in the block."""
    counted = n_before - np.int64(n_before > 0 and state.scalars[FRAME_START] == NO_FRAME)
    since = (keys[at] - s.frame[at]) >> RANK_BITS
    # Half a unit more, and no rounding does harm.
    in_frame = np.int64((float(since) + 0.5) / plan.slot_period)
    return np.int64(state.scalars[FRAME_SLOT] + counted * plan.slots_per_frame + in_frame)


@compiled_bare
def _number(
    begin: np.int64,
    end: np.int64,
    n_sync: np.int64,
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
) -> None:
    """Write the slot numbers of the Bell slots `begin` to `end`, and take their marks apart."""
    entries, seen = plan.bell.size, np.int64(0)
    for k in range(begin, end):
        at = np.int64(out.slot[k]) - 1
        while seen < n_sync and s.sync[seen] <= at:
            seen += 1
        slot = _slot_at(at, seen, keys, plan, state, s) if at >= 0 else state.scalars[SLOT]
        out.slot[k] = slot
        out.blind[k] = out.pattern[k] >= entries
        out.pattern[k] &= entries - 1


@compiled_bare
def _leave_slots(
    pattern: np.int64,
    frame: np.int64,
    n_sync: np.int64,
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
) -> None:
    """Put frame, and slot and pattern of the last tag, into the state."""
    scalars = state.scalars
    scalars[SLOT] = _slot_at(np.int64(keys.size - 1), n_sync, keys, plan, state, s)
    scalars[SLOT_INDEX] = pattern & (plan.bell.size - 1)
    scalars[SLOT_BLIND] = np.int64(pattern >= plan.bell.size)
    counted = n_sync - np.int64(n_sync > 0 and scalars[FRAME_START] == NO_FRAME)
    scalars[FRAME_SLOT] += counted * plan.slots_per_frame
    scalars[FRAME_START] = frame >> RANK_BITS
    scalars[SYNC] += n_sync


@compiled_bare
def advance_block(
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: np.int64,
    ahead: NDArray[np.int64],
) -> np.int64:
    """What `chain_by_tag.analyse` does, for 1 to `BLOCK` tags; -1, nothing done, if void.

    `ahead` is what will be wanted next, and may be fetched from memory meanwhile.
    """
    n, until = np.int64(keys.size), state.scalars[BLIND_UNTIL] << RANK_BITS
    n_sync = follow_sparse(keys, plan, state, s.sparse, s.until, s.sync, ahead)
    sparse = n_sync >= 0
    if not sparse:
        open_dense(plan, state, s.dense)
        until, n_sync = follow_dense(keys, until, plan.extending.any(), s.dense, s.until, s.sync)
    frame = state.scalars[FRAME_START] << RANK_BITS
    frame = _fill_frames(keys, s.sync[:n_sync], frame, s.frame)
    if not _place(keys, plan, s):
        return np.int64(-1)
    code = s.code
    code[n : n + BITS] = 0
    first = _slot_at(np.int64(0), np.int64(keys[0] & RANK_MASK == 0), keys, plan, state, s)
    code[0] = code[0] & ~JOINT | (JOINT if first == state.scalars[SLOT] else 0)
    count_codes(code.view(np.uint16)[: (n + 1) // 2], s.tally)
    n_seconds = list_seconds(code.view(np.uint64)[: (n + BITS - 1) // BITS * 8], s.seconds)
    begin = n_out
    n_out, pattern = join(code, n, s.seconds[:n_seconds], plan, state, s.pairs, out, begin)
    _number(begin, n_out, n_sync, keys, plan, state, s, out)
    _leave_slots(pattern, frame, n_sync, keys, plan, state, s)
    if sparse:
        leave_sparse(keys, plan, state, s.sparse)
    else:
        leave_dense(until, plan, state, s.dense)
    return n_out
