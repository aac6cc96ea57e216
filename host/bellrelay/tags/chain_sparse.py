"""Dead times along a block in which few tags lie close together: mostly without a chain.

A click is kept if the last one of its detector lies further back than any dead time. That is so for
nearly all, and seen for many at once by a look at the few tags before each; only the others are
followed one by one. In the same way the tags just before one tell what may blind its slot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chain_state import BLIND_UNTIL, LONG_AGO, RANK_BITS, RANK_MASK, ChainPlan, ChainState
from .compiled import compiled, compiled_bare, inlined
from .machine import fetch
from .marks import BITS, SPARE, bits_of, list_bits
from .recorded_settings import MAX_DETECTORS

__all__ = ["SparseRoom", "follow_sparse", "leave_sparse", "sparse_room"]

_BACK = 3
"""Tags that are looked back at for all."""

_PAD = MAX_DETECTORS
"""Room before a block, for the last click of each detector that began a dead interval."""

_FEW = 4
"""A block is sparse if not more than one in so many of its tags has to be followed."""

_TIME_BITS = 64 - RANK_BITS
_TIME = np.uint64((1 << _TIME_BITS) - 1)
_NEVER = LONG_AGO << RANK_BITS
_FAR = 1 << 62

_RANKS = RANK_MASK + 1
_BEGUN, _SEEN, _EXTENDS = np.uint64(_RANKS), np.uint64(2 * _RANKS), np.uint64(3 * _RANKS)


class SparseRoom(NamedTuple):
    """Room for what is known of a block.

    turned: (_PAD + n,) uint64, tags with the rank above the time, which counts from `LONG_AGO`: so
    the difference of two is small if they are of one detector, else huge.
    gap: (n,) ps since the last click of the detector, huge if not among the last `_BACK` tags.
    mark: 1 where a tag has to be followed.
    ends: (_PAD + n,) end of the dead interval that a tag begins, in units of a key, with the lowest
    bit set where the tag is kept; long ago where it begins none.
    followed, crowded: positions of tags to follow, and of those with more than `_BACK` tags before
    them that may matter.
    table: (4 * _RANKS,) by rank: dead time; begin of the dead interval after the last tag that was
    followed; time of that tag; whether suppressed clicks prolong intervals. Times as in `turned`.
    """

    turned: NDArray[np.uint64]
    gap: NDArray[np.uint64]
    mark: NDArray[np.uint8]
    ends: NDArray[np.int64]
    followed: NDArray[np.int32]
    crowded: NDArray[np.int32]
    table: NDArray[np.int64]


@compiled
def sparse_room(block: int) -> SparseRoom:
    """Room for blocks of up to `block` tags."""
    return SparseRoom(
        np.empty(_PAD + block, dtype=np.uint64),
        np.empty(block, dtype=np.uint64),
        np.zeros((block // BITS + 2) * BITS, dtype=np.uint8),
        np.empty(_PAD + block, dtype=np.int64),
        np.empty(block + SPARE, dtype=np.int32),
        np.empty(block + 1, dtype=np.int32),
        np.zeros(4 * _RANKS, dtype=np.int64),
    )


@inlined
def _turn(key: int) -> np.uint64:
    since = np.uint64(key - _NEVER)
    return since >> np.uint64(RANK_BITS) | since << np.uint64(_TIME_BITS)


@compiled_bare
def _open(plan: ChainPlan, state: ChainState, room: SparseRoom) -> None:
    """Put the clicks before the block into the pads, in order, and make the table."""
    turned, ends, table = room.turned, room.ends, room.table
    turned[:_PAD] = 0
    ends[:_PAD] = _NEVER
    table[2 * _RANKS : 3 * _RANKS] = -1
    for d in range(state.last.size):
        table[d + 1] = plan.dead_time[d]
        table[d + 1 + 3 * _RANKS] = plan.extending[d]
        click = _turn((state.last[d] << RANK_BITS) + d + 1)
        end = min(state.last[d] + plan.dead_time[d], state.scalars[BLIND_UNTIL]) << RANK_BITS
        at = 0
        while at + 1 < _PAD and turned[at + 1] & _TIME < click & _TIME:
            turned[at], ends[at] = turned[at + 1], ends[at + 1]
            at += 1
        turned[at], ends[at] = click, end


@compiled_bare
def _lay_out(keys: NDArray[np.int64], plan: ChainPlan, room: SparseRoom) -> None:
    """Turn all tags, and let all begin a dead interval and be kept."""
    turned, ends = room.turned[_PAD:], room.ends[_PAD:]
    if plan.one_dead_time:
        length = plan.longest_dead << RANK_BITS
        for i in range(keys.size):
            turned[i] = _turn(keys[i])
            ends[i] = (keys[i] & ~RANK_MASK) + length | 1
    else:
        for i in range(keys.size):
            turned[i] = _turn(keys[i])
            length = room.table[np.uint64(keys[i]) & np.uint64(RANK_MASK)] << RANK_BITS
            ends[i] = (keys[i] & ~RANK_MASK) + length | 1


@compiled_bare
def _look_back(
    turned: NDArray[np.uint64],
    longest: int,
    reach: int,
    gap: NDArray[np.uint64],
    mark: NDArray[np.uint8],
) -> None:
    """Gap of every tag, and a mark where it is short, where tags are crowded, and at sync tags."""
    n = gap.size
    tag, one = turned[_PAD : _PAD + n], turned[_PAD - 1 : _PAD - 1 + n]
    two, three = turned[_PAD - 2 : _PAD - 2 + n], turned[_PAD - 3 : _PAD - 3 + n]
    four = turned[_PAD - 4 : _PAD - 4 + n]
    for i in range(n):
        this = tag[i]
        least = min(min(this - one[i], this - two[i]), this - three[i])
        gap[i] = least
        close = np.uint8(least < np.uint64(longest))
        crowded = np.uint8((this - four[i]) & _TIME < np.uint64(reach))
        mark[i] = close | crowded | np.uint8(this <= _TIME)


@compiled_bare
def _list_marked(
    marks: NDArray[np.uint64], n: int, ahead: NDArray[np.int64], positions: NDArray[np.int32]
) -> np.int64:
    found = np.uint64(0)
    for word in range((n + BITS - 1) // BITS):
        for line in range(BITS * word, BITS * (word + 1), 8):
            fetch(ahead, np.int64(line))
        found = list_bits(bits_of(marks, word, 0), BITS * word, positions, found)
    return np.int64(found)


@compiled_bare
def _search_back(turned: NDArray[np.uint64], at: np.int64, longest: int) -> np.int64:
    """Gap of a crowded tag: `at` counts from the pads. A huge one if none is short."""
    this = turned[at]
    for k in range(at - 1, -1, -1):
        if (this - turned[k]) & _TIME >= np.uint64(longest):
            break
        if this - turned[k] < np.uint64(longest):
            return np.int64(this - turned[k])
    return np.int64(_FAR)


@compiled_bare
def _follow(
    n: np.int64, longest: int, reach: int, room: SparseRoom, sync: NDArray[np.int32]
) -> tuple[np.int64, np.int64]:
    """Decide over the `n` tags that are marked; the numbers of sync tags and of crowded ones.

    An interval begins at the last click of the detector, unless that had to be followed too: then
    the table has it.
    """
    table, turned, ends = room.table, room.turned, room.ends
    n_sync = n_crowded = np.uint64(0)
    for k in range(n):
        i = np.uint64(room.followed[k])
        at = i + np.uint64(_PAD)
        rank, time = turned[at] >> np.uint64(_TIME_BITS), np.int64(turned[at] & _TIME)
        room.crowded[n_crowded] = i
        since = turned[at] - turned[at - np.uint64(_BACK + 1)] & _TIME
        n_crowded += np.uint64(since < np.uint64(reach))
        if rank == 0:
            sync[n_sync] = i
            n_sync += np.uint64(1)
            ends[at] = _NEVER
            continue
        gap = np.int64(room.gap[i])
        if np.uint64(gap) >= np.uint64(longest):
            gap = _search_back(turned, np.int64(at), longest)
        # Both ways are worked out and one is taken: a branch would often be guessed wrong.
        begun, extends, end = table[rank + _BEGUN], table[rank + _EXTENDS], ends[at]
        begin = time - gap
        begin = begun if begin == table[rank + _SEEN] else begin
        kept = np.int64(time - begin >= table[rank])
        begins = kept | extends
        table[rank + _SEEN] = time
        table[rank + _BEGUN] = time if begins else begin
        ends[at] = end - (1 - kept) if begins else _NEVER
    return np.int64(n_sync), np.int64(n_crowded)


@compiled_bare
def _blind(ends: NDArray[np.int64], until_of: NDArray[np.int64]) -> None:
    """`until_of` of every tag (`chain_dense.follow_dense`), but for the crowded."""
    n = until_of.size
    tag, one = ends[_PAD : _PAD + n], ends[_PAD - 1 : _PAD - 1 + n]
    two, three = ends[_PAD - 2 : _PAD - 2 + n], ends[_PAD - 3 : _PAD - 3 + n]
    for i in range(n):
        latest = max(max(one[i], two[i]), three[i])
        until_of[i] = (latest & ~1) | (tag[i] & 1)


@compiled_bare
def _blind_crowded(
    crowded: NDArray[np.int32], reach: int, room: SparseRoom, until_of: NDArray[np.int64]
) -> None:
    turned, ends = room.turned, room.ends
    for i in crowded:
        latest = _NEVER
        for k in range(i + _PAD - 1, -1, -1):
            if (turned[i + _PAD] - turned[k]) & _TIME >= np.uint64(reach):
                break
            latest = max(latest, ends[k])
        until_of[i] = (latest & ~1) | (ends[i + _PAD] & 1)


@compiled_bare
def _reach(plan: ChainPlan) -> int:
    """How far back a click can matter: for its dead time, of which a slot may begin at the end."""
    return plan.longest_dead + plan.slot_period + 1


@compiled_bare
def follow_sparse(
    keys: NDArray[np.int64],
    plan: ChainPlan,
    state: ChainState,
    room: SparseRoom,
    until_of: NDArray[np.int64],
    sync: NDArray[np.int32],
    ahead: NDArray[np.int64],
) -> np.int64:
    """What `chain_dense.follow_dense` does; number of sync tags, -1 if the block is too dense.

    Parameters
    ----------
    until_of
        What lies further back than can matter may be missing.
    ahead
        What will be wanted next, and may be fetched from memory meanwhile.
    """
    n, reach = keys.size, _reach(plan)
    _open(plan, state, room)
    _lay_out(keys, plan, room)
    room.mark[n : n + BITS] = 0
    _look_back(room.turned, plan.longest_dead, reach, room.gap[:n], room.mark)
    n_followed = _list_marked(room.mark.view(np.uint64), n, ahead, room.followed)
    if n_followed > n // _FEW + 1:
        return np.int64(-1)
    n_sync, n_crowded = _follow(n_followed, plan.longest_dead, reach, room, sync)
    _blind(room.ends, until_of[:n])
    _blind_crowded(room.crowded[:n_crowded], reach, room, until_of)
    return n_sync


@compiled_bare
def leave_sparse(
    keys: NDArray[np.int64], plan: ChainPlan, state: ChainState, room: SparseRoom
) -> None:
    """Put what can still matter after a block into the state."""
    until = state.scalars[BLIND_UNTIL] << RANK_BITS
    earliest = keys[-1] - (_reach(plan) << RANK_BITS)
    i = np.int64(keys.size - 1)
    while i >= 0 and keys[i] > earliest:
        end = room.ends[_PAD + i]
        if end != _NEVER:
            until = max(until, end)
            d = (keys[i] & RANK_MASK) - 1
            state.last[d] = max(state.last[d], keys[i] >> RANK_BITS)
        i -= 1
    state.scalars[BLIND_UNTIL] = until >> RANK_BITS
