"""The compiled driver of the chain: order tags again after deskew, then slots, bins and bitmaps.

Work is done in blocks that stay in the cache: a block is merged into the tags that still wait for
earlier ones, and what can have no earlier one any more is analysed at once. No result depends on
where a block or a call ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chain_block import BLOCK, Scratch, advance_block, scratch
from .chain_by_tag import analyse
from .chain_order import merge_tags, merge_words, releasable
from .chain_slots import count_slots
from .chain_state import LATEST, LONGEST_FRAME_PS, ChainPlan, ChainState, Written
from .compiled import compiled, compiled_bare, inlined

__all__ = ["drive_tags", "drive_words"]


@inlined
def _advance(
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: int,
    ahead: NDArray[np.int64],
) -> int:
    """What `analyse` does, in blocks where that can be."""
    for begin in range(0, keys.size, BLOCK):
        block = keys[begin : begin + BLOCK]
        done = np.int64(-1)
        if plan.bin_ps == 0 and plan.frame_length <= LONGEST_FRAME_PS:
            done = advance_block(block, plan, state, s, out, np.int64(n_out), ahead)
        n_out = analyse(block, plan, state, out, n_out) if done < 0 else int(done)
    return n_out


@compiled_bare
def _carry(wait: NDArray[np.int64], begin: int, end: int) -> int:
    """Move the keys `begin` to `end` to the front; their number."""
    for i in range(begin, end):
        wait[i - begin] = wait[i]
    return end - begin


@compiled
def _grown(wait: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Room for a block more than the `n` that wait."""
    if n + BLOCK <= wait.size:
        return wait
    more = np.empty(2 * (n + BLOCK), dtype=np.int64)
    more[:n] = wait[:n]
    return more


@compiled_bare
def _turn(n: int) -> int:
    """How many tags to read when `n` wait: together a block, unless very many wait."""
    return max(BLOCK - n, BLOCK // 2)


@compiled_bare
def _release(
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: int,
    wait: NDArray[np.int64],
    n: int,
    ahead: NDArray[np.int64],
) -> tuple[int, int]:
    """Analyse the keys that nothing can come before; how many wait, and Bell slots written.

    `ahead` is what will be read next.
    """
    ready = releasable(wait, n, state.scalars[LATEST] - plan.settle_ps)
    n_out = _advance(wait[:ready], plan, state, s, out, n_out, ahead)
    return _carry(wait, ready, n), n_out


@compiled_bare
def _run_words(
    words: NDArray[np.int64],
    begin: int,
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: int,
    wait: NDArray[np.int64],
    n: int,
) -> tuple[int, int, int]:
    """Words from `begin` on as long as there is room; where it stops, how many wait, Bell slots."""
    while begin < words.size and n + BLOCK <= wait.size:
        end = min(begin + _turn(n), words.size)
        n = merge_words(words[begin:end], plan, state.scalars, wait, n)
        n, n_out = _release(plan, state, s, out, n_out, wait, n, words[end:])
        begin = end
    return begin, n, n_out


@compiled_bare
def _run_tags(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    begin: int,
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: int,
    wait: NDArray[np.int64],
    n: int,
) -> tuple[int, int, int]:
    """The same for tags that are decoded already."""
    while begin < t.size and n + BLOCK <= wait.size:
        end = min(begin + _turn(n), t.size)
        n = merge_tags(t[begin:end], channel[begin:end], plan, state.scalars, wait, n)
        n, n_out = _release(plan, state, s, out, n_out, wait, n, t[end:])
        begin = end
    return begin, n, n_out


@compiled
def drive_words(
    words: NDArray[np.int64], plan: ChainPlan, state: ChainState, out: Written
) -> tuple[int, NDArray[np.int64]]:
    """Blocks of words through the chain: Bell slots written, and the keys that wait."""
    n, n_out, begin, s, wait = state.wait.size, 0, 0, scratch(), state.wait
    while begin < words.size:
        wait = _grown(wait, n)
        begin, n, n_out = _run_words(words, begin, plan, state, s, out, n_out, wait, n)
    count_slots(s.tally, s.pairs, plan, state)
    return n_out, wait[:n].copy()


@compiled
def drive_tags(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    plan: ChainPlan,
    state: ChainState,
    out: Written,
) -> tuple[int, NDArray[np.int64]]:
    """The same for tags that are decoded already."""
    n, n_out, begin, s, wait = state.wait.size, 0, 0, scratch(), state.wait
    while begin < t.size:
        wait = _grown(wait, n)
        begin, n, n_out = _run_tags(t, channel, begin, plan, state, s, out, n_out, wait, n)
    count_slots(s.tally, s.pairs, plan, state)
    return n_out, wait[:n].copy()
