"""Tags of a stream in order after deskew: words or tags go into those that still wait."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.frames import TAG_CHANNEL_SHIFT, TAG_TIME_MASK

from .chain_state import (
    IGNORED,
    LATEST,
    LONG_AGO,
    NO_CHANNEL,
    OUT_OF_ORDER,
    RANK_BITS,
    RANK_MASK,
    ChainPlan,
)
from .compiled import compiled, compiled_bare

__all__ = ["merge_tags", "merge_words", "order_tags", "releasable"]

_STRIDE = 64
"""Keys that are looked at together for one out of order."""


@compiled_bare
def _insert(key: int, wait: NDArray[np.int64], n: int) -> None:
    """Put a key in order into the `n` that wait."""
    i = n
    while i > 0 and wait[i - 1] > key:
        wait[i] = wait[i - 1]
        i -= 1
    wait[i] = key


@compiled_bare
def _decode(
    words: NDArray[np.int64],
    channels: tuple[int, ...],
    offsets: tuple[int, ...],
    keys: NDArray[np.int64],
) -> bool:
    """Keys of words, in the order of the words, without a branch.

    False, the result being void, if a channel is unknown, a time negative or a raw time before the
    last one.
    """
    # Bad is what is negative: so the compiler need not make flags of comparisons.
    bad = np.int64(0)
    for i in range(words.size):
        channel = np.int64(np.uint64(words[i]) >> np.uint64(TAG_CHANNEL_SHIFT))
        # All channels are compared: one look at a table takes longer, for it is done tag by tag.
        offset: int | np.int64 = np.int64(LONG_AGO << RANK_BITS)
        for k in range(RANK_MASK):
            offset = offsets[k] if channel == channels[k] else offset
        key = ((words[i] & TAG_TIME_MASK) << RANK_BITS) + offset
        bad |= key
        keys[i] = key
    first, second = words[:-1], words[1:]
    for i in range(second.size):
        bad |= (second[i] & TAG_TIME_MASK) - (first[i] & TAG_TIME_MASK)
    return bool(bad >= 0)


@compiled_bare
def _exchange(keys: NDArray[np.int64]) -> None:
    """Let neighbours change places where they are out of order: most that are need no more."""
    for odd in range(2):
        pairs = keys[odd:]
        for j in range(pairs.size >> 1):
            one, other = pairs[2 * j], pairs[2 * j + 1]
            pairs[2 * j] = min(one, other)
            pairs[2 * j + 1] = max(one, other)


@compiled_bare
def _order(wait: NDArray[np.int64], begin: int, end: int) -> None:
    """Put the keys `begin` to `end` into order behind those before them, which are."""
    for first in range(begin, end, _STRIDE):
        last = min(first + _STRIDE, end)
        here, before = wait[first:last], wait[first - 1 : last - 1]
        bad = np.int64(0)
        for i in range(here.size):
            bad |= here[i] - before[i]
        if bad < 0:
            for i in range(first, last):
                _insert(wait[i], wait, i)


@compiled_bare
def _admitted(raw: int, rank: int, plan: ChainPlan, scalars: NDArray[np.int64]) -> bool:
    """Whether a tag takes part; if not it is counted, if so it may be the latest."""
    if rank == NO_CHANNEL:
        scalars[IGNORED] += 1
        return False
    if raw < scalars[LATEST] - plan.reorder_ps:
        scalars[OUT_OF_ORDER] += 1
        return False
    scalars[LATEST] = max(scalars[LATEST], raw)
    return True


@compiled_bare
def merge_words(
    words: NDArray[np.int64],
    plan: ChainPlan,
    scalars: NDArray[np.int64],
    wait: NDArray[np.int64],
    n: int,
) -> int:
    """Decode words (as int64), take the deskew off and put them in order behind `n` that wait."""
    end = n + words.size
    if words[0] & TAG_TIME_MASK >= scalars[LATEST] and _decode(
        words, plan.channels, plan.offsets, wait[n:end]
    ):
        around = max(n - 1, 0)
        _exchange(wait[around:end])
        _order(wait, max(around, 1), end)
        scalars[LATEST] = words[-1] & TAG_TIME_MASK
        return end
    for i in range(words.size):
        channel, raw = (words[i] >> TAG_CHANNEL_SHIFT) & 0xFF, words[i] & TAG_TIME_MASK
        if _admitted(raw, plan.rank_of[channel], plan, scalars):
            _insert((raw << RANK_BITS) + plan.offset[channel], wait, n)
            n += 1
    return n


@compiled_bare
def merge_tags(
    t: NDArray[np.int64],
    channels: NDArray[np.uint8],
    plan: ChainPlan,
    scalars: NDArray[np.int64],
    wait: NDArray[np.int64],
    n: int,
) -> int:
    """The same for tags that are decoded already."""
    for i in range(t.size):
        if _admitted(t[i], plan.rank_of[channels[i]], plan, scalars):
            _insert((t[i] << RANK_BITS) + plan.offset[channels[i]], wait, n)
            n += 1
    return n


@compiled_bare
def releasable(wait: NDArray[np.int64], n: int, before_ps: int) -> int:
    """How many of the `n` waiting keys lie before `before_ps`."""
    while n > 0 and wait[n - 1] >> RANK_BITS >= before_ps:
        n -= 1
    return n


@compiled
def order_tags(
    t: NDArray[np.int64],
    channels: NDArray[np.uint8],
    plan: ChainPlan,
    scalars: NDArray[np.int64],
    wait_t: NDArray[np.int64],
    wait_rank: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """The same for ranks of any size: times and ranks that are ready, then those that wait."""
    n = wait_t.size
    all_t = np.empty(n + t.size, dtype=np.int64)
    all_rank = np.empty(n + t.size, dtype=np.uint8)
    all_t[:n] = wait_t
    all_rank[:n] = wait_rank
    for i in range(t.size):
        rank = plan.rank_of[channels[i]]
        if not _admitted(t[i], rank, plan, scalars):
            continue
        time = t[i] - plan.deskew_of[channels[i]]
        at = n
        while at > 0 and (
            all_t[at - 1] > time or (all_t[at - 1] == time and all_rank[at - 1] > rank)
        ):
            all_t[at] = all_t[at - 1]
            all_rank[at] = all_rank[at - 1]
            at -= 1
        all_t[at] = time
        all_rank[at] = rank
        n += 1
    ready = n
    while ready > 0 and all_t[ready - 1] >= scalars[LATEST] - plan.settle_ps:
        ready -= 1
    return all_t[:ready], all_rank[:ready], all_t[ready:n].copy(), all_rank[ready:n].copy()
