"""The fused chain: from words or tags to Bell outcomes in one pass on one thread.

It streams: `begin`, any number of `feed_words` or `feed_tags`, `finish`. The state goes in and
comes out; cutting the stream elsewhere changes nothing. `bellrelay.tags.recorded` says the same
thing stage by stage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bsm import BELL_CLASSES, outcomes_of
from .chain_by_tag import analyse, close_slot
from .chain_kernel import drive_tags, drive_words
from .chain_state import (
    BLIND_UNTIL,
    CODE_BITS,
    FRAME_START,
    IGNORED,
    LATEST,
    LONG_AGO,
    LONGEST_FRAME_PS,
    N_FATES,
    N_SCALARS,
    NO_CHANNEL,
    NO_FRAME,
    OUT_OF_ORDER,
    RANK_BITS,
    RANK_MASK,
    SLOT,
    SYNC,
    ChainPlan,
    ChainState,
    Written,
)
from .gate import first_opening
from .recorded_result import ClickFate, RecordedResult
from .recorded_settings import RecordedSettings

__all__ = [
    "TIME_LIMIT_PS",
    "BellSlots",
    "ChainPlan",
    "ChainState",
    "begin",
    "feed_tags",
    "feed_words",
    "finish",
    "plan_chain",
    "result",
]

TIME_LIMIT_PS = 1 << 58
"""Times lie below this in size: 3 days and 8 hours."""

_NO_TAG = 256
"""Channel of no tag."""


class BellSlots(NamedTuple):
    """Slots with a Bell pattern, ascending.

    slot: (n,) uint64; slot_class: (n,) uint8 of SlotClass, not_live aside; outcome: (n,) uint8 of
    Outcome; live: (n,) bool. An acquisition that does not announce slots that are not live
    announces those with `live`.
    """

    slot: NDArray[np.uint64]
    slot_class: NDArray[np.uint8]
    outcome: NDArray[np.uint8]
    live: NDArray[np.bool_]


def plan_chain(settings: RecordedSettings, histogram_bin_ps: int = 0) -> ChainPlan:
    """Settings as the compiled loops read them.

    Parameters
    ----------
    histogram_bin_ps
        Width of the bins of the arrival-time histogram; 0 for none.
    """
    n, period = settings.n_detectors, settings.slot_period_ps
    clock = settings.sync_channel is None
    rank_of = np.full(256, NO_CHANNEL, dtype=np.uint8)
    deskew_of = np.zeros(256, dtype=np.int64)
    for d, detector in enumerate(settings.detectors):
        rank_of[detector.channel] = d + 1
        deskew_of[detector.channel] = detector.deskew_ps
    if settings.sync_channel is not None:
        rank_of[settings.sync_channel] = 0
        deskew_of[settings.sync_channel] = settings.sync_deskew_ps
    used = rank_of != NO_CHANNEL
    # Twice as negative as a raw time can be positive.
    unknown = LONG_AGO << RANK_BITS
    offset = np.where(used, rank_of - (deskew_of << RANK_BITS), unknown)
    channels = np.flatnonzero(used).tolist()
    spare = RANK_MASK - len(channels)
    cells = 1 << np.arange(2 * n, dtype=np.int64)
    codes = np.asarray(settings.table, dtype=np.uint8)
    opening = first_opening(settings.early, settings.late)
    bits = np.stack([np.zeros(n, dtype=np.int64), cells[:n], cells[n:]], axis=1)
    cell, joined = _patterns(bits, codes.size)
    return ChainPlan(
        rank_of=rank_of,
        deskew_of=deskew_of,
        offset=offset,
        channels=(*channels, *[_NO_TAG] * spare),
        offsets=(*offset[channels].tolist(), *[unknown] * spare),
        reorder_ps=settings.reorder_ps,
        settle_ps=settings.reorder_ps + int(deskew_of[used].max()),
        slot_period=period,
        frame_length=LONGEST_FRAME_PS if clock else settings.slots_per_pulse * period,
        slots_per_frame=0 if clock else settings.slots_per_pulse,
        phase=settings.phase_ps,
        windows=np.array([*settings.early, *settings.late], dtype=np.int64),
        # With both windows empty no slot is occupied; any number will do.
        opening=0 if opening is None else opening,
        dead_time=np.array([d.dead_time_ps for d in settings.detectors], dtype=np.int64),
        longest_dead=max(d.dead_time_ps for d in settings.detectors),
        one_dead_time=len({d.dead_time_ps for d in settings.detectors}) == 1,
        extending=np.array([d.extending for d in settings.detectors], dtype=np.bool_),
        bits=bits,
        cell=cell,
        joined=joined,
        codes=codes,
        bell=np.isin(codes, BELL_CLASSES),
        bin_ps=histogram_bin_ps,
    )


def _patterns(bits: NDArray[np.int64], entries: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """`cell` and `joined` of the plan."""
    code = np.arange(1 << CODE_BITS)
    rank, what, blind = code & RANK_MASK, code >> 4, code >> 3 & 1
    bit = np.zeros(code.size, dtype=np.int64)
    inside = (rank >= 1) & (rank <= len(bits)) & (what >= 1)
    bit[inside] = bits[rank[inside] - 1, what[inside] - 1]
    cell = bit | blind * entries
    multi = np.where(bit[:, None] & bit, entries // 2, 0)
    return cell, (cell[:, None] | bit | multi).astype(np.int32).ravel()


def begin(plan: ChainPlan) -> ChainState:
    """State before the first tag."""
    n = plan.dead_time.size
    scalars = np.zeros(N_SCALARS, dtype=np.int64)
    scalars[LATEST] = LONG_AGO
    scalars[FRAME_START] = NO_FRAME
    scalars[SLOT] = -1
    scalars[BLIND_UNTIL] = LONG_AGO
    bins = -(-plan.slot_period // plan.bin_ps) if plan.bin_ps else 0
    return ChainState(
        scalars=scalars,
        last=np.full(n, LONG_AGO, dtype=np.int64),
        counts=np.zeros((n, N_FATES), dtype=np.int64),
        slots=np.zeros((2, plan.codes.size), dtype=np.int64),
        histogram=np.zeros((n, bins), dtype=np.int64),
        wait=np.zeros(0, dtype=np.int64),
    )


def feed_words(
    plan: ChainPlan, state: ChainState, words: NDArray[np.uint64]
) -> tuple[ChainState, BellSlots]:
    """The next words of a stream.

    Parameters
    ----------
    words
        (n,) uint64: channel in bits 63..56, ps below.

    Returns
    -------
    The state for the next call (`state` itself is left as it is), and the Bell slots that are
    complete.
    """
    state, out = _fork(state), _room(state, words.size)
    raw = np.ascontiguousarray(words).view(np.int64)
    n_out, wait = drive_words(raw, plan, state, out)
    return state._replace(wait=wait), _bell_slots(plan, out, n_out)


def feed_tags(
    plan: ChainPlan, state: ChainState, t: NDArray[np.int64], channel: NDArray[np.uint8]
) -> tuple[ChainState, BellSlots]:
    """The next tags of a stream, decoded already.

    Parameters
    ----------
    t, channel
        (n,) int64 ps and (n,) uint8.

    Returns
    -------
    As :func:`feed_words`.

    Raises
    ------
    ValueError
        A time at or beyond `TIME_LIMIT_PS`, or arrays of different lengths.
    """
    check_times(t, channel)
    state, out = _fork(state), _room(state, t.size)
    times, channels = np.ascontiguousarray(t), np.ascontiguousarray(channel)
    n_out, wait = drive_tags(times, channels, plan, state, out)
    return state._replace(wait=wait), _bell_slots(plan, out, n_out)


def finish(plan: ChainPlan, state: ChainState) -> tuple[ChainState, BellSlots]:
    """The end of the stream: what still waits is analysed, the open slot is closed."""
    state, out = _fork(state), _room(state, 0)
    n_out = analyse(state.wait, plan, state, out, 0)
    n_out = close_slot(plan, state, out, n_out)
    return state._replace(wait=state.wait[:0].copy()), _bell_slots(plan, out, n_out)


def result(settings: RecordedSettings, state: ChainState) -> RecordedResult:
    """Totals of a finished state."""
    slots = state.slots.copy()
    slots[:, 0] = 0  # slots with nothing in a window
    return RecordedResult(
        settings=settings,
        sync=int(state.scalars[SYNC]),
        ignored=int(state.scalars[IGNORED]),
        out_of_order=int(state.scalars[OUT_OF_ORDER]),
        fates=state.counts[:, : len(ClickFate)].copy(),
        slots=slots,
        histogram=state.histogram.copy(),
    )


def check_times(t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
    """Raise ValueError for lengths that differ or times that the arithmetic does not hold."""
    if t.size != channel.size:
        raise ValueError(f"{t.size} times and {channel.size} channels")
    if t.size and not (int(t.min()) > -TIME_LIMIT_PS and int(t.max()) < TIME_LIMIT_PS):
        raise ValueError(f"times from {t.min()} to {t.max()} ps; allowed: below 2**58 in size")


def _fork(state: ChainState) -> ChainState:
    return state._replace(
        scalars=state.scalars.copy(),
        last=state.last.copy(),
        counts=state.counts.copy(),
        slots=state.slots.copy(),
        histogram=state.histogram.copy(),
    )


def _room(state: ChainState, n: int) -> Written:
    # A Bell slot takes two tags; one more may have been open before.
    size = (state.wait.size + n) // 2 + 2
    return Written(
        np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int32), np.empty(size, np.bool_)
    )


def _bell_slots(plan: ChainPlan, out: Written, n: int) -> BellSlots:
    classes: NDArray[np.uint8] = plan.codes[out.pattern[:n]]
    return BellSlots(out.slot[:n].copy(), classes, outcomes_of(classes), ~out.blind[:n])
