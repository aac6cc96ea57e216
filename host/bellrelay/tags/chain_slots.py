"""From codes of tags to patterns of slots: what each tag did alone, then the slots with several."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chain_state import (
    CODE_BITS,
    DEAD_TIME,
    JOINT,
    OUTSIDE,
    RANK_MASK,
    SLOT_BLIND,
    SLOT_INDEX,
    ChainPlan,
    ChainState,
    Written,
)
from .compiled import compiled_bare, inlined
from .marks import BITS, bits_of, list_bits

__all__ = ["TALLIES", "count_codes", "count_slots", "join", "list_seconds"]

_CODES = 1 << CODE_BITS
_CODE_MASK = _CODES - 1
_JOINT_BIT = 7

TALLIES = 1 << 14
"""Length of a tally of two codes that stand in one 16-bit word, without the marks."""

_TWO_CODES = _CODE_MASK << 8 | _CODE_MASK


@compiled_bare
def count_codes(codes: NDArray[np.uint16], tally: NDArray[np.uint32]) -> None:
    """Count the codes, two by two: half as many counts, and fewer that wait for the one before."""
    for i in range(codes.size):
        tally[np.uint64(codes[i]) & np.uint64(_TWO_CODES)] += np.uint32(1)


@compiled_bare
def list_seconds(codes: NDArray[np.uint64], seconds: NDArray[np.int32]) -> np.int64:
    """List the tags that are the second in their slot; their number.

    Parameters
    ----------
    codes
        Eight codes in each.
    """
    n, before = np.uint64(0), np.uint64(0)
    for word in range(codes.size * 8 // BITS):
        joint = bits_of(codes, word, _JOINT_BIT)
        n = list_bits(joint & ~(joint << np.uint64(1) | before), BITS * word, seconds, n)
        before = joint >> np.uint64(BITS - 1)
    return np.int64(n)


@inlined
def _add(marked: np.int64, code: np.uint8, plan: ChainPlan, flat: NDArray[np.int64]) -> np.int64:
    """Pattern of a slot with one tag more, which counts no longer alone."""
    entries = np.int64(plan.bell.size)
    alone = plan.cell[code & _CODE_MASK]
    flat[alone] -= 1
    bit = alone & (entries - 1)
    return np.int64(marked | bit | (entries // 2 if marked & bit else 0))


@compiled_bare
def join(
    code: NDArray[np.uint8],
    n: np.int64,
    seconds: NDArray[np.int32],
    plan: ChainPlan,
    state: ChainState,
    pairs: NDArray[np.int64],
    out: Written,
    n_out: np.int64,
) -> tuple[np.int64, np.int64]:
    """Slots with more than one tag, of which each has been counted alone: put that right.

    Pairs are counted, all else is done at once. A suppressed click or a sync tag opens a slot as
    any other, with nothing in it.

    Parameters
    ----------
    code
        Codes of the `n` tags, then at least one 0.
    seconds
        Tags that are the second in their slot, or in the slot that was open before.
    pairs
        Numbers of slots with two tags, by `code << CODE_BITS | code`.
    out
        Bell slots are written with 1 plus the position of a tag in place of the slot number (0 for
        the slot that was open before), and with the not-live mark in the pattern.

    Returns
    -------
    The number of Bell slots, and the pattern of the slot that stays open.
    """
    cell, bell, joined = plan.cell, plan.bell, plan.joined
    pattern_mask = np.int64(bell.size - 1)
    flat = state.slots.reshape(2 * bell.size)
    marked, at = state.scalars[SLOT_INDEX] | state.scalars[SLOT_BLIND] * bell.size, np.int64(0)
    while code[at] & JOINT:
        marked = _add(marked, code[at], plan, flat)
        at += 1
    if at == n:
        return n_out, marked
    flat[marked] += 1
    out.slot[n_out], out.pattern[n_out] = 0, marked
    n_out += np.int64(bell[marked & pattern_mask])
    for k in range(np.int64(at > 0), seconds.size):
        at = np.int64(seconds[np.uint64(k)])
        if code[at + 1] & JOINT == 0 and at < n - 1:
            two = np.uint64(code[at - 1] & _CODE_MASK) << np.uint64(CODE_BITS)
            two |= np.uint64(code[at] & _CODE_MASK)
            pairs[two] += 1
            out.slot[n_out], out.pattern[n_out] = at + 1, joined[two]
            n_out += np.int64(bell[joined[two] & pattern_mask])
            continue
        marked = cell[code[at - 1] & _CODE_MASK]
        flat[marked] -= 1
        while code[at] & JOINT:
            marked = _add(marked, code[at], plan, flat)
            at += 1
        if at == n:
            return n_out, marked
        flat[marked] += 1
        out.slot[n_out], out.pattern[n_out] = at, marked
        n_out += np.int64(bell[marked & pattern_mask])
    last = cell[code[n - 1] & _CODE_MASK]
    flat[last] -= 1
    return n_out, last


@compiled_bare
def count_slots(
    tally: NDArray[np.uint32], pairs: NDArray[np.int64], plan: ChainPlan, state: ChainState
) -> None:
    """Add up what the blocks of one call have counted by code."""
    flat = state.slots.reshape(2 * plan.bell.size)
    for code in range(_CODES):
        tags = np.int64(0)
        for other in range(_CODES):
            tags += np.int64(tally[code << 8 | other]) + np.int64(tally[other << 8 | code])
        flat[plan.cell[code]] += tags
        rank, what = code & RANK_MASK, code >> 4
        if tags > 0 and rank > 0:
            state.counts[rank - 1, what - 1 + OUTSIDE if what else DEAD_TIME] += tags
    for two in range(pairs.size):
        flat[plan.cell[two >> CODE_BITS]] -= pairs[two]
        flat[plan.cell[two & _CODE_MASK]] -= pairs[two]
        flat[plan.joined[two]] += pairs[two]
