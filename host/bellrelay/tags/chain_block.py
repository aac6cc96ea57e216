"""The fast path of the chain: a block of tags in order, in a few loops that hardly branch.

Each loop does one thing for all tags of a block, which stay in the first caches. What the loops
cannot do (a tag without a slot in its frame, a histogram) makes the block void, and
`chain_by_tag` does it tag by tag; both give the same. Times are keys, `time << RANK_BITS | rank`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chain_state import (
    BLIND_UNTIL,
    CODE_BITS,
    DEAD_TIME,
    FRAME_SLOT,
    FRAME_START,
    LONG_AGO,
    NO_FRAME,
    OUTSIDE,
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
from .compiled import compiled, compiled_bare, inlined

__all__ = ["BLOCK", "Scratch", "advance_block", "count_slots", "scratch"]

BLOCK = 2048
"""Tags per block."""

_COPIES = 4
"""Copies of the tally by code."""

_OUTSIDE = 1
"""What a kept click did in its code (`chain_state.CODE_BITS`), if not in a window."""

_RANKS = RANK_MASK + 1
_LONG, _KEEPS = np.uint64(_RANKS), np.uint64(2 * _RANKS)
"""Where, in the table of dead intervals, their lengths stand, and which a click cannot prolong."""


class Scratch(NamedTuple):
    """Room for what the loops know of a block.

    dead: (3 * _RANKS,) int64, by rank: end of the dead interval, its length, and -1 where a
    suppressed click leaves it alone, else 0. Sync has one that ends long ago.
    tally: (_COPIES << CODE_BITS,) number of tags by code, in several copies. pairs: number of slots
    with two tags, by `code << CODE_BITS | code`.
    end, until, frame: (BLOCK,) int64, for each tag: the end of the dead interval of its detector,
    the latest one of any, both begun by earlier tags; start of the frame.
    code, slot: (BLOCK + 1,), at i + 1 for tag i: code, start of the slot. sync, joint: positions of
    sync tags, and of tags whose slot is that of the tag before.
    """

    dead: NDArray[np.int64]
    tally: NDArray[np.int64]
    pairs: NDArray[np.int64]
    end: NDArray[np.int64]
    until: NDArray[np.int64]
    frame: NDArray[np.int64]
    code: NDArray[np.uint8]
    slot: NDArray[np.int64]
    sync: NDArray[np.int32]
    joint: NDArray[np.int32]


@compiled
def scratch(plan: ChainPlan) -> Scratch:
    """Room for the blocks of one call."""
    n_detectors = plan.dead_time.size
    dead = np.zeros(3 * _RANKS, dtype=np.int64)
    dead[_LONG] = LONG_AGO << RANK_BITS
    for d in range(n_detectors):
        dead[d + 1 + _LONG] = plan.dead_time[d] << RANK_BITS
        dead[d + 1 + _KEEPS] = 0 if plan.extending[d] else -1
    return Scratch(
        dead,
        np.zeros(_COPIES << CODE_BITS, dtype=np.int64),
        np.zeros(1 << 2 * CODE_BITS, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK + 1, dtype=np.uint8),
        np.empty(BLOCK + 1, dtype=np.int64),
        np.empty(BLOCK + 1, dtype=np.int32),
        np.empty(BLOCK + 1, dtype=np.int32),
    )


@inlined
def _follow(
    keys: NDArray[np.int64], until: np.int64, frame: np.int64, extends: bool, s: Scratch
) -> tuple[np.int64, np.int64, np.int64]:
    """Dead time, blind interval and frame at every tag: what needs the tags before it.

    The latest end of a dead interval and the start of the frame, `until` and `frame` before the
    block, and the number of sync tags. `extends`: whether any dead interval does.
    """
    dead, end_of, until_of, frame_of, sync = s.dead, s.end, s.until, s.frame, s.sync
    n_sync = np.uint64(0)
    for i in range(keys.size):
        key = keys[i]
        rank = np.uint64(key) & np.uint64(RANK_MASK)
        end = dead[rank]
        ends = key + dead[rank + _LONG]
        if extends:
            ends -= (ends - end) & ((key - end) >> 63) & dead[rank + _KEEPS]
        else:
            ends = ends if key >= end else end
        dead[rank] = ends
        end_of[i] = end
        until_of[i] = until
        until = max(until, ends)
        if rank == 0:
            frame = key
            sync[n_sync] = i
            n_sync += np.uint64(1)
        frame_of[i] = frame
    return until, frame, np.int64(n_sync)


@inlined
def _place(keys: NDArray[np.int64], plan: ChainPlan, s: Scratch) -> bool:
    """Slot and code of every tag, without a branch: the compiler makes vectors of it.

    False if one of them has no slot, or not in this frame: then the result is void.
    """
    n = keys.size
    end, until, frame, code, slot = s.end, s.until, s.frame, s.code[1 : n + 1], s.slot[1 : n + 1]
    # All in units of a key: the rank below a time changes neither its slot nor its window.
    unit = float(1 << RANK_BITS)
    period, last = plan.slot_period * unit, (plan.frame_length << RANK_BITS) - 1
    opening = plan.opening << RANK_BITS
    early_start, early_end = plan.windows[0] * unit, plan.windows[1] * unit
    late_start, late_end = plan.windows[2] * unit, plan.windows[3] * unit
    inverse, lost = 1.0 / period, np.int64(0)
    for i in range(n):
        key = keys[i]
        since = key - frame[i]
        lost |= since | (last - since)
        in_frame = float(since)
        # Half a unit more, and no rounding reaches a multiple of the period (`LONGEST_FRAME_PS`).
        position = in_frame - np.floor((in_frame + 0.5) * inverse) * period
        early = np.int64((position >= early_start) & (position < early_end))
        late = np.int64((position >= late_start) & (position < late_end))
        at = key - np.int64(position)
        slot[i] = at
        # `until` has a rank in its low bits: a time has to lie a unit before it.
        blind = np.uint64(at + opening + RANK_MASK - until[i]) >> np.uint64(63)
        what = (_OUTSIDE + early + 2 * late) & ~((key - end[i]) >> 63)
        code[i] = (key & RANK_MASK) | np.int64(blind) << 3 | what << 4
    return bool(lost >= 0)


@inlined
def _tally(n: np.int64, s: Scratch) -> np.int64:
    """Count the codes and list the tags whose slot is that of the tag before; their number."""
    code, slot, joint, tally = s.code, s.slot, s.joint, s.tally
    m = np.uint64(0)
    for i in range(1, n + 1):
        # In turn into copies: the next count of the same code need not wait for this one.
        tally[np.uint64(code[i]) | np.uint64(i & (_COPIES - 1)) << np.uint64(CODE_BITS)] += 1
        joint[m] = i
        m += np.uint64(slot[i] == slot[i - 1])
    joint[m] = 0
    return np.int64(m)


@inlined
def _join(
    n: np.int64,
    m: np.int64,
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: np.int64,
) -> tuple[np.int64, np.int64]:
    """Slots with more than one tag, of which each has been counted alone: put that right.

    Pairs are counted, all else is done at once. A suppressed click or a sync tag opens a slot as
    any other, with nothing in it. Bell slots are written to `out` with a tag for the slot number (0
    for the slot that was open before) and the not-live mark in the pattern; the number of them, and
    the pattern of the slot that stays open.
    """
    code, joint, cell, bell = s.code, s.joint, plan.cell, plan.bell
    pattern_mask, multi = np.int64(bell.size - 1), np.int64(bell.size // 2)
    flat = state.slots.reshape(2 * bell.size)
    marked = state.scalars[SLOT_INDEX] | state.scalars[SLOT_BLIND] * bell.size
    if joint[0] != 1:
        flat[marked] += 1
        out.slot[n_out], out.pattern[n_out] = 0, marked
        n_out += np.int64(bell[marked & pattern_mask])
    last, k = np.int64(cell[code[n]]), np.int64(0)
    while k < m:
        at = np.int64(joint[k])
        if at > 1 and at < n and joint[k + 1] != at + 1:
            pair = np.uint64(code[at - 1]) << np.uint64(CODE_BITS) | np.uint64(code[at])
            s.pairs[pair] += 1
            out.slot[n_out], out.pattern[n_out] = at, plan.joined[pair]
            n_out += np.int64(bell[plan.joined[pair] & pattern_mask])
            k += 1
            continue
        head = at - 1
        if head > 0:
            marked = cell[code[head]]
            flat[marked] -= 1
        while joint[k] == at:
            one = cell[code[at]]
            flat[one] -= 1
            bit = one & pattern_mask
            marked |= multi if marked & bit else 0
            marked |= bit
            at += 1
            k += 1
        if at > n:
            return n_out, marked
        flat[marked] += 1
        out.slot[n_out], out.pattern[n_out] = head, marked
        n_out += np.int64(bell[marked & pattern_mask])
    flat[last] -= 1
    return n_out, last


@inlined
def _slot_at(
    at: np.int64, n_before: np.int64, plan: ChainPlan, state: ChainState, s: Scratch
) -> np.int64:
    """Number of the slot of the tag at `at`, with `n_before` sync tags up to there in the block."""
    counted = n_before - np.int64(n_before > 0 and state.scalars[FRAME_START] == NO_FRAME)
    since = (s.slot[at] - s.frame[at - 1]) >> RANK_BITS
    # The start of a slot: half a period more, and no rounding does harm.
    in_frame = np.int64((float(since) + 0.5 * plan.slot_period) / plan.slot_period)
    return np.int64(state.scalars[FRAME_SLOT] + counted * plan.slots_per_frame + in_frame)


@inlined
def _number(
    begin: np.int64, end: np.int64, plan: ChainPlan, state: ChainState, s: Scratch, out: Written
) -> None:
    """Write the slot numbers of the Bell slots `begin` to `end`, and take their marks apart."""
    entries, seen = plan.bell.size, np.int64(0)
    for k in range(begin, end):
        at = np.int64(out.slot[k])
        while s.sync[seen] < at:
            seen += 1
        out.slot[k] = _slot_at(at, seen, plan, state, s) if at > 0 else state.scalars[SLOT]
        out.blind[k] = out.pattern[k] >= entries
        out.pattern[k] &= entries - 1


@compiled_bare
def count_slots(plan: ChainPlan, state: ChainState, s: Scratch) -> None:
    """Add up what the blocks of one call have counted by code."""
    flat = state.slots.reshape(2 * plan.bell.size)
    codes = np.int64(1 << CODE_BITS)
    for c in range(codes):
        tags = np.int64(0)
        for copy in range(_COPIES):
            tags += s.tally[c + copy * codes]
        flat[plan.cell[c]] += tags
        rank, what = c & RANK_MASK, c >> 4
        if tags > 0 and rank > 0:
            fate = what - _OUTSIDE + OUTSIDE if what else DEAD_TIME
            state.counts[rank - 1, fate] += tags
    for pair in range(s.pairs.size):
        flat[plan.cell[pair >> CODE_BITS]] -= s.pairs[pair]
        flat[plan.cell[pair & (codes - 1)]] -= s.pairs[pair]
        flat[plan.joined[pair]] += s.pairs[pair]


@inlined
def advance_block(
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: np.int64,
) -> np.int64:
    """What `chain_by_tag.analyse` does, for 1 to `BLOCK` tags; -1, nothing done, if void."""
    scalars, dead = state.scalars, s.dead
    dead[0] = LONG_AGO << RANK_BITS
    for d in range(state.last.size):
        dead[d + 1] = ((state.last[d] + plan.dead_time[d]) << RANK_BITS) + d + 1
    until, frame = scalars[BLIND_UNTIL] << RANK_BITS, scalars[FRAME_START] << RANK_BITS
    if plan.extending.any():
        until, frame, n_sync = _follow(keys, until, frame, True, s)
    else:
        until, frame, n_sync = _follow(keys, until, frame, False, s)
    if not _place(keys, plan, s):
        return np.int64(-1)
    n = np.int64(keys.size)
    first = _slot_at(np.int64(1), np.int64(keys[0] & RANK_MASK == 0), plan, state, s)
    s.slot[0] = s.slot[1] - np.int64(first != scalars[SLOT])
    m = _tally(n, s)
    s.sync[n_sync] = BLOCK + 1
    begin = n_out
    n_out, last = _join(n, m, plan, state, s, out, begin)
    _number(begin, n_out, plan, state, s, out)
    scalars[SLOT] = _slot_at(n, n_sync, plan, state, s)
    scalars[SLOT_INDEX] = last & (plan.bell.size - 1)
    scalars[SLOT_BLIND] = np.int64(last >= plan.bell.size)
    scalars[SYNC] += n_sync
    counted = n_sync - np.int64(n_sync > 0 and scalars[FRAME_START] == NO_FRAME)
    scalars[FRAME_SLOT] += counted * plan.slots_per_frame
    scalars[FRAME_START] = frame >> RANK_BITS
    scalars[BLIND_UNTIL] = until >> RANK_BITS
    for d in range(state.last.size):
        state.last[d] = (dead[d + 1] >> RANK_BITS) - plan.dead_time[d]
    return n_out
