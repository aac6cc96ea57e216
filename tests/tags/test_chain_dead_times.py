"""The two ways along a block, sparse and dense, find the same dead times."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bellrelay.tags.chain import begin, plan_chain
from bellrelay.tags.chain_dense import DENSE_TABLE, follow_dense, leave_dense, open_dense
from bellrelay.tags.chain_sparse import follow_sparse, leave_sparse, sparse_room
from bellrelay.tags.chain_state import BLIND_UNTIL, RANK_BITS, ChainPlan, ChainState
from bellrelay.tags.recorded_settings import RecordedDetector, RecordedSettings

PERIOD = 12_500
N = 700


def plan_for(dead_times: list[int], extending: list[bool]) -> ChainPlan:
    detectors = tuple(
        RecordedDetector(f"D{d}", d, 0, 0, dead, extends)
        for d, (dead, extends) in enumerate(zip(dead_times, extending, strict=True))
    )
    return plan_chain(RecordedSettings(detectors, PERIOD, (2500, 3500), sync_channel=9))


def crowded_in_places(rng: np.random.Generator, n: int, crowds: int) -> NDArray[np.int64]:
    """Keys from before time 0 on, far apart but for some crowds, many of one detector."""
    gaps, rank = rng.integers(20_000, 400_000, N), rng.integers(1, n + 1, N)
    for first in rng.integers(0, N - 12, crowds):
        crowd = slice(first, first + rng.integers(2, 12))
        gaps[crowd] = rng.choice(np.array([0, 700, 9000, 30_000]))
        if rng.random() < 0.5:
            rank[crowd] = rank[first]
    rank[rng.random(N) < 0.1] = 0
    return np.sort(np.cumsum(gaps) - 5_000_000 << RANK_BITS | rank)


def dense(
    keys: NDArray[np.int64], plan: ChainPlan, state: ChainState
) -> tuple[NDArray[np.int64], list[int]]:
    table, until_of = np.empty(DENSE_TABLE, dtype=np.int64), np.empty(N, dtype=np.int64)
    sync = np.empty(N + 1, dtype=np.int32)
    open_dense(plan, state, table)
    until = state.scalars[BLIND_UNTIL] << RANK_BITS
    until, n = follow_dense(keys, until, plan.extending.any(), table, until_of, sync)
    leave_dense(until, plan, state, table)
    return until_of, sync[:n].tolist()


def that_matter(until_of: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends of dead intervals, or where a slot with the tag can begin at the earliest."""
    return np.maximum(until_of >> RANK_BITS, (keys >> RANK_BITS) - PERIOD)


@pytest.mark.parametrize("crowds", [0, 6, 200])
@pytest.mark.parametrize("seed", range(8))
def test_sparse_is_dense(seed: int, crowds: int) -> None:
    """Three blocks, one after the other; with 200 crowds none is sparse."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    dead_times = rng.choice(np.array([0, 1, 15_000, 40_000, 50_000]), n)
    if seed % 2:
        dead_times[:] = dead_times[0]
    plan = plan_for(dead_times.tolist(), (rng.random(n) < 0.3).tolist())
    one, other, room = begin(plan), begin(plan), sparse_room(N)
    keys = crowded_in_places(rng, n, crowds)
    ahead, suppressed = keys[:0], 0
    for first, end in ((0, 1), (1, 300), (300, N)):
        block = keys[first:end]
        until_of, sync = np.empty(N, dtype=np.int64), np.empty(N + 1, dtype=np.int32)
        n_sync = follow_sparse(block, plan, one, room, until_of, sync, ahead)
        if n_sync < 0:
            assert crowds == 200
            return
        leave_sparse(block, plan, one, room)
        expected, expected_sync = dense(block, plan, other)
        assert sync[:n_sync].tolist() == expected_sync
        clicks, size = block & 7 != 0, block.size
        np.testing.assert_array_equal(until_of[:size][clicks] & 1, expected[:size][clicks] & 1)
        np.testing.assert_array_equal(
            that_matter(until_of[:size], block), that_matter(expected[:size], block)
        )
        suppressed += int(np.count_nonzero(expected[:size][clicks] & 1 == 0))
    assert crowds < 200
    assert suppressed > 0 or crowds == 0 or max(dead_times) < 15_000
