"""The compiled loops of the chain: order tags again after deskew, then slots, bins and bitmaps.

Work is done in blocks that stay in the cache: a block is merged into the tags that still wait for
earlier ones, and what can have no earlier one any more is analysed at once. No result depends on
where a block or a call ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.frames import TAG_CHANNEL_SHIFT, TAG_TIME_MASK

from .compiled import compiled

__all__ = [
    "LATEST",
    "NO_CHANNEL",
    "NO_FRAME",
    "N_FATES",
    "N_SCALARS",
    "ChainPlan",
    "ChainState",
    "Written",
    "analyse",
    "close_slot",
    "drive_tags",
    "drive_words",
    "order_tags",
]

BLOCK = 4096
"""Tags per block: what the fast path knows of them stays in the second-level cache."""

NO_CHANNEL = 255
"""Rank of a channel that the analysis does not know."""

NO_FRAME = 1 << 62
"""Frame start before there is a frame; the largest time is below."""

# Scalars of the state.
LATEST = 0  # latest raw time seen
FRAME_START, FRAME_SLOT = 1, 2  # time and slot number at which the frame of slots begins
SLOT, SLOT_INDEX, SLOT_BLIND = 3, 4, 5  # the open slot: number, table index, not live
BLIND_UNTIL = 6  # latest end of a dead interval
SYNC, IGNORED, OUT_OF_ORDER = 7, 8, 9
N_SCALARS = 10

# Fates of a click, columns of the counts.
DEAD_TIME, BEFORE, PAST_FRAME, OUTSIDE, EARLY, LATE = 0, 1, 2, 3, 4, 5
N_FATES = 6


class ChainPlan(NamedTuple):
    """Settings as the loops read them.

    Rank 0 is sync, rank d + 1 detector d. rank_of: (256,) uint8 and deskew_of: (256,) int64, by
    channel; settle_ps: how far a tag may still come before the latest raw time. slots_per_frame 0
    stands for the slot clock. windows: (4,) int64, early and late; opening: the smallest start of
    one. dead_time, extending: (n_detectors,). bits: (n_detectors, 3) int64 by bin (outside: 0).
    codes: class codes by table index, and bell: whether it is a Bell class. bin_ps 0: no histogram.
    """

    rank_of: NDArray[np.uint8]
    deskew_of: NDArray[np.int64]
    reorder_ps: int
    settle_ps: int
    slot_period: int
    frame_length: int
    slots_per_frame: int
    phase: int
    windows: NDArray[np.int64]
    opening: int
    dead_time: NDArray[np.int64]
    extending: NDArray[np.bool_]
    bits: NDArray[np.int64]
    codes: NDArray[np.uint8]
    bell: NDArray[np.bool_]
    bin_ps: int


class ChainState(NamedTuple):
    """All that one call leaves to the next; as good as immutable: calls work on copies.

    scalars: (N_SCALARS,) int64. last: (n_detectors,) int64, the last click that starts a dead
    interval. counts: (n_detectors, N_FATES) int64. slots: (2, entries of the table) int64, slots
    by liveness and table index; index 0 is meaningless. histogram: (n_detectors, bins) int64.
    wait_t, wait_rank: tags, in order, that may still have to let an earlier one pass.
    """

    scalars: NDArray[np.int64]
    last: NDArray[np.int64]
    counts: NDArray[np.int64]
    slots: NDArray[np.int64]
    histogram: NDArray[np.int64]
    wait_t: NDArray[np.int64]
    wait_rank: NDArray[np.uint8]


class Written(NamedTuple):
    """Room for Bell slots: slot (n,) uint64, table index (n,) int32, not live (n,) bool."""

    slot: NDArray[np.uint64]
    pattern: NDArray[np.int32]
    blind: NDArray[np.bool_]


@compiled
def _insert(
    time: int, rank: int, wait_t: NDArray[np.int64], wait_rank: NDArray[np.uint8], n: int
) -> None:
    """Put a tag that does not belong at the end into order by (time, rank)."""
    i = n
    while i > 0 and (wait_t[i - 1] > time or (wait_t[i - 1] == time and wait_rank[i - 1] > rank)):
        wait_t[i] = wait_t[i - 1]
        wait_rank[i] = wait_rank[i - 1]
        i -= 1
    wait_t[i] = time
    wait_rank[i] = rank


@compiled
def _decode_in_order(
    words: NDArray[np.int64],
    plan: ChainPlan,
    latest: int,
    wait_t: NDArray[np.int64],
    wait_rank: NDArray[np.uint8],
) -> bool:
    """Decode and deskew words, without a branch.

    False, the result being void, if a channel is unknown or a raw time lies before the last one.
    """
    rank_of, deskew_of = plan.rank_of, plan.deskew_of
    bad = np.int64((words[0] & TAG_TIME_MASK) < latest)
    for i in range(words.size):
        word = words[i]
        raw = word & TAG_TIME_MASK
        channel = np.uint64(word) >> np.uint64(TAG_CHANNEL_SHIFT)
        rank = rank_of[channel]
        bad |= np.int64(rank == NO_CHANNEL)
        bad |= np.int64(raw < latest)
        latest = raw
        wait_t[i] = raw - deskew_of[channel]
        wait_rank[i] = rank
    return not bad


@compiled
def _order(wait_t: NDArray[np.int64], wait_rank: NDArray[np.uint8], begin: int, end: int) -> None:
    """Put the tags `begin` to `end` into order behind those before them, which are."""
    for i in range(max(begin, 1), end):
        if wait_t[i] <= wait_t[i - 1]:
            _insert(wait_t[i], wait_rank[i], wait_t, wait_rank, i)


@compiled
def _merge_words(
    words: NDArray[np.int64],
    plan: ChainPlan,
    scalars: NDArray[np.int64],
    wait_t: NDArray[np.int64],
    wait_rank: NDArray[np.uint8],
    n: int,
) -> int:
    """Decode words (as int64), take the deskew off and put them in order behind `n` that wait."""
    latest = scalars[LATEST]
    end = n + words.size
    if _decode_in_order(words, plan, latest, wait_t[n:end], wait_rank[n:end]):
        _order(wait_t, wait_rank, n, end)
        scalars[LATEST] = words[-1] & TAG_TIME_MASK
        return end
    for i in range(words.size):
        word = words[i]
        raw = word & TAG_TIME_MASK
        channel = (word >> TAG_CHANNEL_SHIFT) & 0xFF
        rank = plan.rank_of[channel]
        if rank == NO_CHANNEL:
            scalars[IGNORED] += 1
            continue
        if raw < latest - plan.reorder_ps:
            scalars[OUT_OF_ORDER] += 1
            continue
        latest = max(latest, raw)
        time = raw - plan.deskew_of[channel]
        if n == 0 or time > wait_t[n - 1]:
            wait_t[n] = time
            wait_rank[n] = rank
        else:
            _insert(time, rank, wait_t, wait_rank, n)
        n += 1
    scalars[LATEST] = latest
    return n


@compiled
def _merge_tags(
    t: NDArray[np.int64],
    channels: NDArray[np.uint8],
    plan: ChainPlan,
    scalars: NDArray[np.int64],
    wait_t: NDArray[np.int64],
    wait_rank: NDArray[np.uint8],
    n: int,
) -> int:
    """The same for tags that are decoded already."""
    latest = scalars[LATEST]
    for i in range(t.size):
        raw = t[i]
        rank = plan.rank_of[channels[i]]
        if rank == NO_CHANNEL:
            scalars[IGNORED] += 1
            continue
        if raw < latest - plan.reorder_ps:
            scalars[OUT_OF_ORDER] += 1
            continue
        latest = max(latest, raw)
        time = raw - plan.deskew_of[channels[i]]
        if n == 0 or time > wait_t[n - 1]:
            wait_t[n] = time
            wait_rank[n] = rank
        else:
            _insert(time, rank, wait_t, wait_rank, n)
        n += 1
    scalars[LATEST] = latest
    return n


@compiled
def releasable(wait_t: NDArray[np.int64], n: int, before_ps: int) -> int:
    """How many of the `n` waiting tags lie before `before_ps`."""
    while n > 0 and wait_t[n - 1] >= before_ps:
        n -= 1
    return n


@compiled
def analyse(
    t: NDArray[np.int64],
    ranks: NDArray[np.uint8],
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
    for i in range(t.size):
        time = t[i]
        if ranks[i] == 0:
            if frame_start != NO_FRAME:
                frame_slot += slots_per_frame
            frame_start = time
            scalars[SYNC] += 1
            continue
        d = ranks[i] - 1
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


class Scratch(NamedTuple):
    """Room for what the fast path knows of a block.

    Clicks, (BLOCK,) each: time; detector; start of the frame; time of the click before on the same
    detector; positions of clicks that come less than a dead time after that one; end of the dead
    interval that the click begins; latest such end of an earlier click; when the first window of
    the slot opens; cell bit, with fate (bits 18..16) and detector (above) as a key. The slot that
    was open before the block and then the clicks, (BLOCK + 1,) each: number of the slot; table
    index, with the not-live mark above it, as if the click were alone in its slot; positions of
    clicks whose slot is that of the one before. Per detector, (n_detectors,): last click.
    """

    time: NDArray[np.int64]
    detector: NDArray[np.uint8]
    frame: NDArray[np.int64]
    previous: NDArray[np.int64]
    close: NDArray[np.int32]
    ends: NDArray[np.int64]
    blind: NDArray[np.int64]
    opens: NDArray[np.int64]
    click: NDArray[np.int32]
    slot: NDArray[np.int64]
    alone: NDArray[np.int32]
    joint: NDArray[np.int32]
    last: NDArray[np.int64]


@compiled
def _scratch(n_detectors: int) -> Scratch:
    return Scratch(
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.uint8),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK + 1, dtype=np.int32),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int64),
        np.empty(BLOCK, dtype=np.int32),
        np.empty(BLOCK + 1, dtype=np.int64),
        np.empty(BLOCK + 1, dtype=np.int32),
        np.empty(BLOCK + 1, dtype=np.int32),
        np.empty(n_detectors, dtype=np.int64),
    )


@compiled
def _frames(
    t: NDArray[np.int64], ranks: NDArray[np.uint8], plan: ChainPlan, state: ChainState, s: Scratch
) -> tuple[np.int64, np.int64]:
    """Clicks of a block without the sync tags, each with its frame and the click before it.

    The number of clicks, and of those that come less than a dead time after another one.
    """
    time_of, detector, frame, slot = s.time, s.detector, s.frame, s.slot[1:]
    previous, close, ends, last = s.previous, s.close, s.ends, s.last
    dead_time, per_frame = plan.dead_time, plan.slots_per_frame
    start, number = state.scalars[FRAME_START], state.scalars[FRAME_SLOT]
    last[:] = state.last
    n = m = np.uint64(0)
    for i in range(t.size):
        time = t[i]
        rank = ranks[i]
        if rank == 0:
            if start != NO_FRAME:
                number += per_frame
            start = time
            continue
        d = np.uint64(rank) - np.uint64(1)
        time_of[n] = time
        detector[n] = d
        frame[n] = start
        slot[n] = number
        dead = dead_time[d]
        before = last[d]
        last[d] = time
        ends[n] = time + dead
        previous[n] = before
        close[m] = n
        m -= np.uint64((time - before - dead) >> 63)
        n += np.uint64(1)
    return np.int64(n), np.int64(m)


@compiled
def _place(n: np.int64, plan: ChainPlan, s: Scratch) -> bool:
    """Slot and cell of every click, without a branch: the compiler makes vectors of it.

    False if one of them has no slot, or not in this frame: then the result is void.
    """
    time_of, detector, frame = s.time[:n], s.detector[:n], s.frame[:n]
    slot = s.slot[1 : n + 1]
    opens, clicks = s.opens[:n], s.click[:n]
    period, length, opening = plan.slot_period, np.uint64(plan.frame_length), plan.opening
    inverse = (1.0 - 4e-16) / period
    early_start, early_end = plan.windows[0], plan.windows[1]
    late_start, late_end = plan.windows[2], plan.windows[3]
    n_detectors = plan.dead_time.size
    lost = np.int64(0)
    for i in range(n):
        since = time_of[i] - frame[i]
        lost |= np.int64(np.uint64(since) >= length)
        number = np.int64(since * inverse)
        position = since - number * period
        more = np.int64(position >= period)
        number += more
        position -= more * period
        slot[i] += number
        opens[i] = time_of[i] - position + opening
        early = np.int64((position >= early_start) & (position < early_end))
        late = np.int64((position >= late_start) & (position < late_end))
        d = np.int64(detector[i])
        clicks[i] = (early | late << n_detectors) << d | (OUTSIDE + early + 2 * late | d << 3) << 16
    return not lost


@compiled
def _suppress(n_close: np.int64, plan: ChainPlan, state: ChainState, s: Scratch) -> None:
    """Dead time: of clicks that come close after another one, find those that are suppressed.

    All others are kept in either mode. A suppressed click loses its cell bit, and, where it does
    not extend, the dead interval that it would begin.
    """
    n_detectors = state.last.size
    # Of the last close click of each detector: its time, and the last kept click up to it.
    time_of = np.full(n_detectors, NO_FRAME)
    kept_of = np.zeros(n_detectors, dtype=np.int64)
    for k in range(n_close):
        i = s.close[k]
        d = s.detector[i]
        time = s.time[i]
        before = s.previous[i]
        if before == time_of[d] and not plan.extending[d]:
            before = kept_of[d]
        kept = time - before >= plan.dead_time[d]
        time_of[d] = time
        kept_of[d] = time if kept else before
        if not kept:
            s.click[i] = np.int64(d) << 19 | DEAD_TIME << 16
            if not plan.extending[d]:
                s.ends[i] = -NO_FRAME
    for d in range(n_detectors):
        last = s.last[d]
        suppressed = last == time_of[d] and not plan.extending[d]
        state.last[d] = kept_of[d] if suppressed else last


@compiled
def _blind(n: np.int64, state: ChainState, s: Scratch) -> None:
    """For every click the latest end of a dead interval that an earlier one begins."""
    ends, blind = s.ends, s.blind
    until = state.scalars[BLIND_UNTIL]
    for i in range(n):
        blind[i] = until
        until = max(until, ends[i])
    state.scalars[BLIND_UNTIL] = until


@compiled
def _mark(n: np.int64, not_live: int, s: Scratch) -> None:
    """Table index of every click as if it were alone in its slot."""
    opens, blind, clicks, alone = s.opens[:n], s.blind[:n], s.click[:n], s.alone[1 : n + 1]
    for i in range(n):
        alone[i] = (clicks[i] & 0xFFFF) | (((opens[i] - blind[i]) >> 63) & not_live)


@compiled
def _collect(
    n: np.int64, plan: ChainPlan, state: ChainState, s: Scratch, out: Written, n_out: int
) -> int:
    """Slots of a block: every click counted alone, then those that share a slot put right.

    A suppressed click opens a slot as any other, with nothing in it. The last slot stays open. The
    number of Bell slots written.
    """
    slot, alone, joint, clicks = s.slot, s.alone, s.joint, s.click
    scalars, bell = state.scalars, plan.bell
    entries = np.int64(bell.size)
    flat = state.slots.reshape(2 * entries)
    slot[0] = scalars[SLOT]
    alone[0] = scalars[SLOT_INDEX] + scalars[SLOT_BLIND] * entries
    m = np.uint64(0)
    tally = np.zeros(8 * state.last.size, dtype=np.int64)
    flat[np.uint64(alone[0])] += 1
    for i in range(n):
        tally[np.uint64(clicks[i] >> 16)] += 1
        flat[np.uint64(alone[i + 1])] += 1
        joint[m] = i + 1
        m += np.uint64(slot[i + 1] == slot[i])
    for d in range(state.last.size):
        for fate in range(N_FATES):
            state.counts[d, fate] += tally[8 * d + fate]
    if slot[1] != slot[0] and bell[alone[0] & (entries - 1)]:
        n_out = _write(slot[0], np.int64(alone[0]), entries, out, n_out)
    last = np.int64(alone[n])
    k = np.uint64(0)
    while k < m:
        at = np.int64(joint[k])
        head = at - 1
        index = np.int64(alone[head])
        flat[index] -= 1
        while k < m and joint[k] == at:
            flat[alone[at]] -= 1
            bit = np.int64(alone[at]) & (entries - 1)
            if index & bit:
                index |= entries // 2
            index |= bit
            at += 1
            k += np.uint64(1)
        flat[index] += 1
        if at > n:
            last = index
        elif bell[index & (entries - 1)]:
            n_out = _write(slot[head], index, entries, out, n_out)
    flat[last] -= 1
    scalars[SLOT], scalars[SLOT_INDEX] = slot[n], last & (entries - 1)
    scalars[SLOT_BLIND] = np.int64(last >= entries)
    return n_out


@compiled
def _write(slot: np.int64, marked: np.int64, entries: np.int64, out: Written, n_out: int) -> int:
    """One Bell slot more."""
    out.slot[n_out] = slot
    out.pattern[n_out] = marked & (entries - 1)
    out.blind[n_out] = marked >= entries
    return n_out + 1


@compiled
def _advance(
    t: NDArray[np.int64],
    ranks: NDArray[np.uint8],
    plan: ChainPlan,
    state: ChainState,
    s: Scratch,
    out: Written,
    n_out: int,
) -> int:
    """What `analyse` does, in vectors where every click of a block has a slot in its frame."""
    for begin in range(0, t.size, BLOCK):
        block_t, block_ranks = t[begin : begin + BLOCK], ranks[begin : begin + BLOCK]
        n = n_close = np.int64(0)
        if plan.bin_ps == 0:
            n, n_close = _frames(block_t, block_ranks, plan, state, s)
        if n == 0 or not _place(n, plan, s):
            n_out = analyse(block_t, block_ranks, plan, state, out, n_out)
            continue
        n_sync = block_t.size - n
        if n_sync > 0:
            state.scalars[SYNC] += n_sync
            first = state.scalars[FRAME_START] == NO_FRAME
            state.scalars[FRAME_SLOT] += (n_sync - np.int64(first)) * plan.slots_per_frame
            i = block_t.size - 1
            while block_ranks[i] != 0:
                i -= 1
            state.scalars[FRAME_START] = block_t[i]
        _suppress(n_close, plan, state, s)
        _blind(n, state, s)
        _mark(n, plan.bell.size, s)
        n_out = _collect(n, plan, state, s, out, n_out)
    return n_out


@compiled
def _carry(wait_t: NDArray[np.int64], wait_rank: NDArray[np.uint8], begin: int, end: int) -> int:
    """Move the tags `begin` to `end` to the front; their number."""
    for i in range(begin, end):
        wait_t[i - begin] = wait_t[i]
        wait_rank[i - begin] = wait_rank[i]
    return end - begin


@compiled
def _grown(
    wait_t: NDArray[np.int64], wait_rank: NDArray[np.uint8], n: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Room for a block more than the `n` that wait."""
    if n + BLOCK <= wait_t.size:
        return wait_t, wait_rank
    more_t = np.empty(2 * (n + BLOCK), dtype=np.int64)
    more_rank = np.empty(2 * (n + BLOCK), dtype=np.uint8)
    more_t[:n] = wait_t[:n]
    more_rank[:n] = wait_rank[:n]
    return more_t, more_rank


@compiled
def drive_words(
    words: NDArray[np.int64], plan: ChainPlan, state: ChainState, out: Written
) -> tuple[int, NDArray[np.int64], NDArray[np.uint8]]:
    """Blocks of words through the chain: Bell slots written, and the tags that wait."""
    n, n_out, s = state.wait_t.size, 0, _scratch(state.last.size)
    wait_t, wait_rank = _grown(state.wait_t, state.wait_rank, n)
    for begin in range(0, words.size, BLOCK):
        wait_t, wait_rank = _grown(wait_t, wait_rank, n)
        block = words[begin : begin + BLOCK]
        n = _merge_words(block, plan, state.scalars, wait_t, wait_rank, n)
        ready = releasable(wait_t, n, state.scalars[LATEST] - plan.settle_ps)
        n_out = _advance(wait_t[:ready], wait_rank[:ready], plan, state, s, out, n_out)
        n = _carry(wait_t, wait_rank, ready, n)
    return n_out, wait_t[:n].copy(), wait_rank[:n].copy()


@compiled
def drive_tags(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    plan: ChainPlan,
    state: ChainState,
    out: Written,
) -> tuple[int, NDArray[np.int64], NDArray[np.uint8]]:
    """The same for tags that are decoded already."""
    n, n_out, s = state.wait_t.size, 0, _scratch(state.last.size)
    wait_t, wait_rank = _grown(state.wait_t, state.wait_rank, n)
    for begin in range(0, t.size, BLOCK):
        wait_t, wait_rank = _grown(wait_t, wait_rank, n)
        end = begin + BLOCK
        n = _merge_tags(t[begin:end], channel[begin:end], plan, state.scalars, wait_t, wait_rank, n)
        ready = releasable(wait_t, n, state.scalars[LATEST] - plan.settle_ps)
        n_out = _advance(wait_t[:ready], wait_rank[:ready], plan, state, s, out, n_out)
        n = _carry(wait_t, wait_rank, ready, n)
    return n_out, wait_t[:n].copy(), wait_rank[:n].copy()


@compiled
def order_tags(
    t: NDArray[np.int64], channel: NDArray[np.uint8], plan: ChainPlan, state: ChainState
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """Deskew and order alone: times and ranks that are ready, then those that wait."""
    n = state.wait_t.size
    all_t = np.empty(n + t.size, dtype=np.int64)
    all_rank = np.empty(n + t.size, dtype=np.uint8)
    all_t[:n] = state.wait_t
    all_rank[:n] = state.wait_rank
    n = _merge_tags(t, channel, plan, state.scalars, all_t, all_rank, n)
    ready = releasable(all_t, n, state.scalars[LATEST] - plan.settle_ps)
    return all_t[:ready], all_rank[:ready], all_t[ready:n].copy(), all_rank[ready:n].copy()


@compiled
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
