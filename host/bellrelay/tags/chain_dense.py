"""Dead times along any block: a chain in which every tag waits for the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chain_state import BLIND_UNTIL, LONG_AGO, RANK_BITS, RANK_MASK, ChainPlan, ChainState
from .compiled import compiled_bare, inlined

__all__ = ["DENSE_TABLE", "follow_dense", "leave_dense", "open_dense"]

_RANKS = RANK_MASK + 1
DENSE_TABLE = 3 * _RANKS
"""Length of the table of dead intervals."""

_LENGTH, _KEEPS = np.uint64(_RANKS), np.uint64(2 * _RANKS)
"""Where in the table their lengths stand, and which a click cannot prolong."""


@compiled_bare
def open_dense(plan: ChainPlan, state: ChainState, dead: NDArray[np.int64]) -> None:
    """Fill the table of dead intervals, (DENSE_TABLE,) int64, that `follow_dense` keeps up.

    By rank: end of the interval, its length, and -1 where a suppressed click leaves it alone, else
    0. Ends are those of the time alone, in units of a key: so lengths lack the rank. Sync has an
    interval that ends long ago.
    """
    dead[0], dead[_LENGTH] = LONG_AGO << RANK_BITS, LONG_AGO << RANK_BITS
    for d in range(state.last.size):
        dead[d + 1] = (state.last[d] + plan.dead_time[d]) << RANK_BITS
        dead[d + 1 + _LENGTH] = (plan.dead_time[d] << RANK_BITS) - (d + 1)
        dead[d + 1 + _KEEPS] = 0 if plan.extending[d] else -1


@inlined
def _follow(
    keys: NDArray[np.int64],
    until: np.int64,
    extends: bool | np.bool_,
    dead: NDArray[np.int64],
    until_of: NDArray[np.int64],
    sync: NDArray[np.int32],
) -> tuple[np.int64, np.int64]:
    n_sync = np.uint64(0)
    for i in range(keys.size):
        key = keys[i]
        rank = np.uint64(key) & np.uint64(RANK_MASK)
        end = dead[rank]
        ends = key + dead[rank + _LENGTH]
        kept = key >= end
        if extends:
            ends -= (ends - end) & ((key - end) >> 63) & dead[rank + _KEEPS]
        else:
            ends = ends if kept else end
        dead[rank] = ends
        until_of[i] = until | np.int64(kept)
        until = max(until, ends)
        if rank == 0:
            sync[n_sync] = i
            n_sync += np.uint64(1)
    return until, np.int64(n_sync)


@compiled_bare
def follow_dense(
    keys: NDArray[np.int64],
    until: np.int64,
    extends: bool | np.bool_,
    dead: NDArray[np.int64],
    until_of: NDArray[np.int64],
    sync: NDArray[np.int32],
) -> tuple[np.int64, np.int64]:
    """Whether every tag is kept, and until when an earlier one blinds a detector.

    Parameters
    ----------
    until
        Latest end of a dead interval begun before the block, in units of a key.
    extends
        Whether any dead interval can be prolonged.
    dead
        As `open_dense` leaves it.
    until_of
        (n,), written: for each tag the latest end of a dead interval begun by an earlier one, in
        units of a key, and in the lowest bit whether the tag is kept.
    sync
        Written: positions of sync tags.

    Returns
    -------
    `until` after the block, and the number of sync tags.
    """
    if extends:
        return _follow(keys, until, True, dead, until_of, sync)
    return _follow(keys, until, False, dead, until_of, sync)


@compiled_bare
def leave_dense(
    until: np.int64, plan: ChainPlan, state: ChainState, dead: NDArray[np.int64]
) -> None:
    """Put what `follow_dense` knows after a block into the state."""
    state.scalars[BLIND_UNTIL] = until >> RANK_BITS
    for d in range(state.last.size):
        state.last[d] = (dead[d + 1] >> RANK_BITS) - plan.dead_time[d]
