"""Coincidences between all channels of a stream of tags, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chain import begin, check_times, plan_chain
from .chain_order import order_tags
from .chain_state import NO_CHANNEL, ChainPlan
from .compiled import compiled
from .recorded_settings import RecordedDetector, RecordedSettings

__all__ = ["CoincidenceState", "begin_pairs", "feed_pairs", "finish_pairs", "plan_pairs"]

_NO_CONFIG = RecordedSettings(
    detectors=(RecordedDetector("any", 0),), slot_period_ps=1, early=(0, 1)
)


class CoincidenceState(NamedTuple):
    """What one call leaves to the next.

    scalars: as of the chain. wait_t, wait_rank: tags, in order, that may still have to let an
    earlier one pass. recent_t, recent_rank: those in order that lie within the window of the last
    one. pairs: (256, 256) int64, by the ranks of the later and the earlier tag. singles: (256,)
    int64.
    """

    scalars: NDArray[np.int64]
    wait_t: NDArray[np.int64]
    wait_rank: NDArray[np.uint8]
    recent_t: NDArray[np.int64]
    recent_rank: NDArray[np.uint8]
    pairs: NDArray[np.int64]
    singles: NDArray[np.int64]


@compiled
def _count(
    t: NDArray[np.int64],
    ranks: NDArray[np.uint8],
    first: int,
    window_ps: int,
    pairs: NDArray[np.int64],
    singles: NDArray[np.int64],
) -> None:
    for i in range(first, t.size):
        singles[ranks[i]] += 1
        j = i - 1
        while j >= 0 and t[i] - t[j] <= window_ps:
            pairs[ranks[i], ranks[j]] += 1
            j -= 1


def plan_pairs(settings: RecordedSettings | None = None) -> ChainPlan:
    """Which channels take part, and their deskew.

    With settings the detectors, detector d with rank d + 1; without, every channel but 255, its
    number being its rank.
    """
    if settings is not None:
        plan = plan_chain(settings)
        if settings.sync_channel is not None:
            plan.rank_of[settings.sync_channel] = NO_CHANNEL
        return plan
    plan = plan_chain(_NO_CONFIG)
    every = np.arange(256, dtype=np.uint8)
    return plan._replace(rank_of=every, settle_ps=plan.reorder_ps)


def begin_pairs(plan: ChainPlan) -> CoincidenceState:
    """State before the first tag."""
    return CoincidenceState(
        begin(plan).scalars,
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.uint8),
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.uint8),
        np.zeros((256, 256), dtype=np.int64),
        np.zeros(256, dtype=np.int64),
    )


def feed_pairs(
    plan: ChainPlan,
    state: CoincidenceState,
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    window_ps: int,
) -> CoincidenceState:
    """The next tags of a stream, counted into pairs with `|dt| <= window_ps`.

    Parameters
    ----------
    t, channel
        (n,) int64 ps and (n,) uint8.
    """
    check_times(t, channel)
    scalars = state.scalars.copy()
    ready_t, ready_rank, wait_t, wait_rank = order_tags(
        t, channel, plan, scalars, state.wait_t, state.wait_rank
    )
    waiting = state._replace(scalars=scalars, wait_t=wait_t, wait_rank=wait_rank)
    return _counted(waiting, ready_t, ready_rank, window_ps)


def finish_pairs(state: CoincidenceState, window_ps: int) -> CoincidenceState:
    """The end of the stream: what waits is counted."""
    rest = state._replace(wait_t=state.wait_t[:0], wait_rank=state.wait_rank[:0])
    return _counted(rest, state.wait_t, state.wait_rank, window_ps)


def _counted(
    state: CoincidenceState, t: NDArray[np.int64], ranks: NDArray[np.uint8], window_ps: int
) -> CoincidenceState:
    first = state.recent_t.size
    t, ranks = np.concatenate([state.recent_t, t]), np.concatenate([state.recent_rank, ranks])
    pairs, singles = state.pairs.copy(), state.singles.copy()
    _count(t, ranks, first, window_ps, pairs, singles)
    keep = int(np.searchsorted(t, t[-1] - window_ps)) if t.size else 0
    return state._replace(
        recent_t=t[keep:].copy(), recent_rank=ranks[keep:].copy(), pairs=pairs, singles=singles
    )
