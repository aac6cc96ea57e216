"""The chain tag by tag, for whatever may come: dead time, slot, gate, bitmap and class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chain_state import (
    BEFORE,
    BLIND_UNTIL,
    DEAD_TIME,
    FRAME_SLOT,
    FRAME_START,
    NO_FRAME,
    OUTSIDE,
    PAST_FRAME,
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
from .compiled import compiled_bare

__all__ = ["analyse", "close_slot"]


@compiled_bare
def analyse(
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    out: Written,
    n_out: int,
) -> int:
    """Dead time, slot, gate, bitmap and class of tags in order; the number of Bell slots written.

    Changes `state` in place.
    """
    scalars, last, counts = state.scalars, state.last, state.counts
    slots, histogram = state.slots, state.histogram
    slot_period, frame_length, bin_ps = plan.slot_period, plan.frame_length, plan.bin_ps
    slots_per_frame, phase, opening = plan.slots_per_frame, plan.phase, plan.opening
    dead_time, extending, bits, bell = plan.dead_time, plan.extending, plan.bits, plan.bell
    windows = plan.windows
    multi_bit = bell.size // 2
    # A product with this never rounds above the true quotient; it may fall one short.
    inverse = (1.0 - 4e-16) / slot_period
    early_start, early_end, late_start, late_end = windows[0], windows[1], windows[2], windows[3]
    frame_start, frame_slot = scalars[FRAME_START], scalars[FRAME_SLOT]
    slot, index, blind = scalars[SLOT], scalars[SLOT_INDEX], scalars[SLOT_BLIND]
    blind_until = scalars[BLIND_UNTIL]
    for i in range(keys.size):
        time, rank = keys[i] >> RANK_BITS, keys[i] & RANK_MASK
        if rank == 0:
            if frame_start != NO_FRAME:
                frame_slot += slots_per_frame
            frame_start = time
            scalars[SYNC] += 1
            continue
        d = rank - 1
        kept = time - last[d] >= dead_time[d]
        if not kept:
            counts[d, DEAD_TIME] += 1
            if not extending[d]:
                continue
        last[d] = time
        since = time - frame_start
        if np.uint64(since) >= np.uint64(frame_length):
            if slots_per_frame == 0 and time >= 0:
                # The slot clock: begin it, or take its origin along.
                if frame_start == NO_FRAME:
                    frame_start, frame_slot = -phase, 0
                    since = time + phase
                whole = since // slot_period
                frame_start += whole * slot_period
                frame_slot += whole
                since -= whole * slot_period
            else:
                # No slot: as what came in a slot of its own, but before time 0 it counts for none.
                if slots_per_frame > 0:
                    blind_until = max(blind_until, time + dead_time[d])
                if kept:
                    counts[d, BEFORE if frame_start == NO_FRAME else PAST_FRAME] += 1
                continue
        number = np.int64(since * inverse)
        position = since - number * slot_period
        if position >= slot_period:
            number += 1
            position -= slot_period
        early = (position >= early_start) & (position < early_end)
        late = (position >= late_start) & (position < late_end)
        which = np.int64(early) + 2 * np.int64(late)
        counts[d, OUTSIDE + which] += np.int64(kept)
        bit = bits[d, which] * np.int64(kept)
        if bin_ps > 0 and kept:
            histogram[d, position // bin_ps] += 1
        number += frame_slot
        if number != slot:
            slots[blind, index] += 1
            if bell[index]:
                out.slot[n_out] = slot
                out.pattern[n_out] = index
                out.blind[n_out] = blind != 0
                n_out += 1
            slot = number
            index = bit
            blind = np.int64(time - position + opening < blind_until)
        else:
            if index & bit:
                index |= multi_bit
            index |= bit
        blind_until = max(blind_until, time + dead_time[d])
    scalars[FRAME_START], scalars[FRAME_SLOT] = frame_start, frame_slot
    scalars[SLOT], scalars[SLOT_INDEX], scalars[SLOT_BLIND] = slot, index, blind
    scalars[BLIND_UNTIL] = blind_until
    return n_out


@compiled_bare
def close_slot(plan: ChainPlan, state: ChainState, out: Written, n_out: int) -> int:
    """Close the open slot at the end of the stream; the number of Bell slots written."""
    scalars = state.scalars
    index, blind = scalars[SLOT_INDEX], scalars[SLOT_BLIND]
    state.slots[blind, index] += 1
    if plan.bell[index]:
        out.slot[n_out] = scalars[SLOT]
        out.pattern[n_out] = index
        out.blind[n_out] = blind != 0
        n_out += 1
    scalars[SLOT_INDEX] = 0
    return n_out
