"""The stages of the relay per click: what the gateware does per clock, for the event board.

One call works off the clicks of many ticks, tick by tick, with explicit state; it comes back after
the first tick whose end needs a frame. Written from ``docs/reference/stages.md``, not from
:mod:`bellrelay.tags` or the gateware: the three are held against each other.

All times are int64 picoseconds or int64 slots; within a tick, times relative to its start fit into
32 bits, in which divisions are cheap.
"""

from __future__ import annotations

import numpy as np

from .compiled import njit

# Indices of the parameter vector (int64).
(
    P_DETECTORS,
    P_PERIOD,
    P_TICK_CLOCKS,
    P_CODE_BITS,
    P_CAPTURE_DEPTH,
    P_ANNOUNCE_DEPTH,
    P_ANNOUNCE_SHORT,
    P_ALIGN_DEPTH,
    P_ALIGN_CELLS,
    P_LOOK_AHEAD,
    P_SLOT_PERIOD,
    P_STEP,
    P_STEP_FRACTION,
    P_EARLY_START,
    P_EARLY_END,
    P_LATE_START,
    P_LATE_END,
    P_FIRST_WINDOW,
    P_ANNOUNCE_NOT_LIVE,
    P_HIST_ON,
    P_HIST_SHIFT,
    P_HIST_BINS,
    P_STREAM_MASK,
    N_PARAMETERS,
) = range(24)

# Indices of the state vector (int64).
(
    S_TICK,
    S_STIMULUS,
    S_PENDING,
    S_U,
    S_FRACTION,
    S_SLOT,
    S_OPEN,
    S_BITMAP,
    S_MULTI,
    S_SHORT,
    S_CELL,
    S_BLOCKED,
    S_BLIND,
    S_SHORT_CELL,
    S_SHORT_RANK,
    S_RECORDS,
    S_SYNC_SLOT,
    S_SYNC_POS,
    S_REASON,
    N_STATE,
) = range(20)

# Columns of the channel table (int64).
C_DESKEW, C_DESKEW_CELLS, C_DESKEW_REST, C_LAST_CELL, C_LAST_TAG, C_BANK, C_FLUSHED = range(7)
N_CHANNEL = 7

# Columns of the detector table (int64).
D_DEAD_TIME, D_EXTEND, D_BEGAN, D_DEAD_FROM, D_DEAD_TO = range(5)
N_DETECTOR = 5

# Columns of the raw counters, per channel; those of the raw domain (counted by the raw cell).
R_CLICKS, R_PILE_UP, R_BEFORE_START, R_MISALIGNED, R_TAGS_LOST, R_DEAD_TIME, R_DEAD_CELLS = range(7)
N_RAW = 7

# Indices of the aligned counters.
A_SYNC, A_SLOTS, A_NOT_LIVE, A_LOST_MINUS, A_LOST_PLUS = range(5)
A_CLASS = 5
A_OUTSIDE = 14
A_EARLY = 18
A_LATE = 22
A_PAIR = 26  # index of pair (i, j): i * 4 + j
N_ALIGNED = 26 + 16

# Reasons for coming back before the last tick (bits).
REASON_ANNOUNCE_HALF = 1
REASON_TAGS_HALF = 2
REASON_LOSS = 4

LONG_AGO = -(1 << 62)
SUPPRESSED = 8  # mark in the pending buffer, beside the channel

_MASK24 = (1 << 24) - 1
_MASK48 = (1 << 48) - 1


@njit(cache=True, nogil=True, inline="always")
def slot_time(u, fraction, cells, step, step_fraction):
    """Slot clock ``cells`` cells on: A + cells * (step + step_fraction / 2**48), exactly.

    ``fraction`` and ``step_fraction`` are below 2**48 and ``cells`` at most 2**18: the product has
    66 bits and is made of two halves.
    """
    high = cells * (step_fraction >> 24)
    low = fraction + cells * (step_fraction & _MASK24) + ((high & _MASK24) << 24)
    return u + cells * step + (high >> 24) + (low >> 48), low & _MASK48


@njit(cache=True, nogil=True)
def _raw_pass(par, st, chan, det, raw, fine, t, channel, n, bank, pend_t, pend_c, tick, cells):
    """Front end, raw tags, pile-up, dead time, deskew: clicks before cell ``cells`` of the tick."""
    n_det = par[P_DETECTORS]
    period = np.uint32(par[P_PERIOD])
    period64 = par[P_PERIOD]
    code_bits = np.uint32(par[P_CODE_BITS])
    depth = par[P_CAPTURE_DEPTH]
    mask = par[P_STREAM_MASK]
    align_cells = par[P_ALIGN_CELLS]
    align_depth = par[P_ALIGN_DEPTH]
    first = tick * par[P_TICK_CLOCKS]
    base = first * period64
    end = base + cells * period64
    i = st[S_STIMULUS]
    tail = st[S_PENDING]
    while i < n:
        at = t[i]
        if at >= end:
            break
        c = np.int64(channel[i])
        i += 1
        rel = np.uint32(at - base)
        in_tick = rel // period
        f = rel - in_tick * period
        cell = first + np.int64(in_tick)
        if cell == chan[c, C_LAST_CELL]:
            continue  # two arrivals within one cell are one hit, the earlier one
        chan[c, C_LAST_CELL] = cell
        raw[c, R_CLICKS] += 1
        code = (f << code_bits) // period
        into = fine[c, np.int64(code)]
        tag = cell * period64 + into
        if (mask >> c) & 1:
            if chan[c, C_BANK] < depth:
                bank[c, chan[c, C_FLUSHED] + chan[c, C_BANK]] = tag
                chan[c, C_BANK] += 1
            else:
                raw[c, R_TAGS_LOST] += 1
        if tag - chan[c, C_LAST_TAG] < period64:
            raw[c, R_PILE_UP] += 1
            continue
        chan[c, C_LAST_TAG] = tag
        mark = c
        begins = True
        if c < n_det:
            dead = det[c, D_DEAD_TIME]
            if tag - det[c, D_BEGAN] < dead:
                mark |= SUPPRESSED
                raw[c, R_DEAD_TIME] += 1
                begins = det[c, D_EXTEND] != 0
            if begins:
                det[c, D_BEGAN] = tag
                # Cells of the interval before that this one does not cover again.
                upto = min(det[c, D_DEAD_TO], cell)
                if upto >= det[c, D_DEAD_FROM]:
                    raw[c, R_DEAD_CELLS] += upto - det[c, D_DEAD_FROM] + 1
                det[c, D_DEAD_FROM] = cell + 1
                if dead > 0:
                    det[c, D_DEAD_TO] = cell + np.int64(np.uint32(into + dead - 1) // period)
                else:
                    det[c, D_DEAD_TO] = cell
        moved = tag - chan[c, C_DESKEW]
        if moved < 0:
            if mark == c:
                raw[c, R_BEFORE_START] += 1
            continue
        back = chan[c, C_DESKEW_CELLS]
        if into < chan[c, C_DESKEW_REST]:
            back += 1
        ahead = align_cells - back
        if ahead <= 0 or ahead >= align_depth:
            raw[c, R_MISALIGNED] += 1
            continue
        if not begins:
            continue  # suppressed and without effect on liveness: nothing sees it any more
        # Into the order of (moved, channel); deskews are short, so the place is near the end.
        j = tail
        while j > 0 and (
            pend_t[j - 1] > moved or (pend_t[j - 1] == moved and (pend_c[j - 1] & 7) > c)
        ):
            pend_t[j] = pend_t[j - 1]
            pend_c[j] = pend_c[j - 1]
            j -= 1
        pend_t[j] = moved
        pend_c[j] = mark
        tail += 1
    st[S_STIMULUS] = i
    st[S_PENDING] = tail


@njit(cache=True, nogil=True)
def _aligned_pass(
    par, st, det, pattern, count, hist, ports, rec_slot, rec_outcome, pend_t, pend_c, tick
):
    """Slot clock, gate, bitmap, liveness, classes, histogram: tags of the tick."""
    n_det = par[P_DETECTORS]
    period = np.uint32(par[P_PERIOD])
    first = tick * par[P_TICK_CLOCKS]
    period64 = par[P_PERIOD]
    base = first * period64
    end = base + par[P_TICK_CLOCKS] * par[P_PERIOD]
    slot_period = par[P_SLOT_PERIOD]
    slot_period32 = np.uint32(slot_period)
    step = par[P_STEP]
    step_fraction = par[P_STEP_FRACTION]
    first_slot = st[S_SLOT]
    u = st[S_U] - first_slot * slot_period  # relative to the first open slot from here on
    fraction = st[S_FRACTION]
    early_start = par[P_EARLY_START]
    early_end = par[P_EARLY_END]
    late_start = par[P_LATE_START]
    late_end = par[P_LATE_END]
    reach_less = par[P_FIRST_WINDOW] + 1
    hist_on = par[P_HIST_ON] != 0
    shift = par[P_HIST_SHIFT]
    bins = par[P_HIST_BINS]
    n_pending = st[S_PENDING]
    head = 0
    # Every tag of the tick and, as the last turn, the tick's end. Closing a slot stands within the
    # loop: as a function, the references to its arrays would be counted at every call.
    more = True
    while more:
        more = head < n_pending and pend_t[head] < end
        if more:
            mark = np.int64(pend_c[head])
            c = mark & 7
            rel = np.uint32(pend_t[head] - base)
            head += 1
            cell = np.int64(rel // period)
            f = np.int64(rel) - cell * period64
            start, low = slot_time(u, fraction, cell, step, step_fraction)
            after = start + step + ((low + step_fraction) >> 48)
            v = start + min(f, after - start - 1)
            ahead = np.int64(np.uint32(v) // slot_period32)
            slot = first_slot + ahead
            pos = v - ahead * slot_period
            if mark < SUPPRESSED and hist_on:
                where = pos >> shift
                if where < bins:
                    hist[c, where] += 1
            if c == n_det:
                count[A_SYNC] += 1
                st[S_SYNC_SLOT] = slot
                st[S_SYNC_POS] = pos
                continue
        else:
            u, fraction = slot_time(u, fraction, par[P_TICK_CLOCKS], step, step_fraction)
            ahead = u // slot_period
            slot = first_slot + ahead
            count[A_SLOTS] += ahead
            st[S_U] = u + first_slot * slot_period
            st[S_FRACTION] = fraction
            st[S_SLOT] = slot
        if slot > st[S_OPEN]:
            # The open slot closes, and those before this one, which opens.
            bitmap = st[S_BITMAP]
            if bitmap != 0:
                n = par[P_DETECTORS]
                code = pattern[bitmap | (st[S_MULTI] << (2 * n))]
                if code > 8:
                    code = 0
                if 1 <= code <= 3:
                    if bitmap & (bitmap - 1) == 0:
                        code = 4  # a Bell pair has two clicks, whatever the table says
                    elif st[S_BLOCKED] != 0 and par[P_ANNOUNCE_NOT_LIVE] == 0:
                        code = 8
                count[A_CLASS + code] += 1
                clicked = (bitmap | (bitmap >> n)) & ((1 << n) - 1)
                if clicked & (clicked - 1):
                    for i in range(n):
                        if (clicked >> i) & 1:
                            for j in range(i + 1, n):
                                count[A_PAIR + 4 * i + j] += (clicked >> j) & 1
                if 1 <= code <= 3:
                    port = 0
                    depth = par[P_ANNOUNCE_DEPTH]
                    if st[S_SHORT]:
                        depth = par[P_ANNOUNCE_SHORT]
                        if st[S_CELL] == st[S_SHORT_CELL]:
                            st[S_SHORT_RANK] += 1
                        else:
                            st[S_SHORT_CELL] = st[S_CELL]
                            st[S_SHORT_RANK] = 1
                        port = st[S_SHORT_RANK]
                    if ports[port] < depth:
                        k = st[S_RECORDS]
                        rec_slot[k] = st[S_OPEN]
                        rec_outcome[k] = 1 if code == 1 else 2
                        st[S_RECORDS] = k + 1
                        ports[port] += 1
                    elif code == 1:
                        count[A_LOST_MINUS] += 1
                    else:
                        count[A_LOST_PLUS] += 1
                st[S_BITMAP] = 0
            st[S_MULTI] = 0
            dark = st[S_BLOCKED]
            between = min(st[S_BLIND], slot - 1) - st[S_OPEN]
            if between > 0:
                dark += between
            count[A_NOT_LIVE] += dark
            st[S_OPEN] = slot
            st[S_BLOCKED] = 1 if st[S_BLIND] >= slot else 0
        if not more:
            break
        if mark < SUPPRESSED:
            bit = np.int64(0)
            if early_start <= pos < early_end:
                bit = 1 << c
                count[A_EARLY + c] += 1
            elif late_start <= pos < late_end:
                bit = 1 << (c + n_det)
                count[A_LATE + c] += 1
            else:
                count[A_OUTSIDE + c] += 1
            if bit:
                if st[S_BITMAP] == 0:
                    # Opens and closes within this cell?
                    begin = ahead * slot_period
                    st[S_SHORT] = begin > start and begin + slot_period <= after
                    st[S_CELL] = first + cell
                if st[S_BITMAP] & bit:
                    st[S_MULTI] = 1
                st[S_BITMAP] |= bit
        reach = v + det[c, D_DEAD_TIME] - reach_less
        if reach >= 0:
            last = first_slot + np.int64(np.uint32(reach) // slot_period32)
            if last > st[S_BLIND]:
                st[S_BLIND] = last
    # What is left belongs to later ticks.
    for k in range(head, n_pending):
        pend_t[k - head] = pend_t[k]
        pend_c[k - head] = pend_c[k]
    st[S_PENDING] = n_pending - head


@njit(cache=True, nogil=True)
def run_ticks(
    par,
    st,
    chan,
    det,
    raw,
    raw_cut,
    count,
    hist,
    ports,
    fine,
    pattern,
    t,
    channel,
    n,
    bank,
    rec_slot,
    rec_outcome,
    pend_t,
    pend_c,
    ticks,
    accept,
    accept_after,
    flush_at_last,
):
    """Work off up to ``ticks`` ticks; returns how many, and why in ``st[S_REASON]``.

    accept, accept_after: whether hits count in these ticks, and in the one after the last.
    flush_at_last: the tag banks flush at the end of the last tick; they also do where one of them
    is half full. The tags that flush are ``bank[c, :chan[c, C_FLUSHED]]``, the counters of the raw
    domain at the cut are ``raw_cut``.
    """
    clocks = par[P_TICK_CLOCKS]
    n_channels = chan.shape[0]
    done = 0
    while done < ticks:
        tick = st[S_TICK]
        reason = 0
        if accept:
            _raw_pass(
                par, st, chan, det, raw, fine, t, channel, n, bank, pend_t, pend_c, tick, clocks
            )
        last_cell = (tick + 1) * clocks - 1
        for d in range(par[P_DETECTORS]):
            upto = min(det[d, D_DEAD_TO], last_cell)
            if upto >= det[d, D_DEAD_FROM]:
                raw[d, R_DEAD_CELLS] += upto - det[d, D_DEAD_FROM] + 1
                det[d, D_DEAD_FROM] = upto + 1
        lost = 0
        for c in range(n_channels):
            if 2 * chan[c, C_BANK] >= par[P_CAPTURE_DEPTH]:
                reason |= REASON_TAGS_HALF
            lost += raw[c, R_TAGS_LOST] - raw_cut[c, R_TAGS_LOST]
            for k in range(N_RAW):
                raw_cut[c, k] = raw[c, k]
        is_last = done + 1 == ticks
        if reason & REASON_TAGS_HALF or (is_last and flush_at_last):
            for c in range(n_channels):
                chan[c, C_FLUSHED] = chan[c, C_BANK]
                chan[c, C_BANK] = 0
        # Deskew moves tags of the next cells into this tick.
        if par[P_LOOK_AHEAD] > 0 and (accept_after if is_last else accept):
            _raw_pass(
                par,
                st,
                chan,
                det,
                raw,
                fine,
                t,
                channel,
                n,
                bank,
                pend_t,
                pend_c,
                tick,
                clocks + par[P_LOOK_AHEAD],
            )
        lost -= count[A_LOST_MINUS] + count[A_LOST_PLUS]
        _aligned_pass(
            par, st, det, pattern, count, hist, ports, rec_slot, rec_outcome, pend_t, pend_c, tick
        )
        lost += count[A_LOST_MINUS] + count[A_LOST_PLUS]
        if lost != 0:
            reason |= REASON_LOSS
        if 2 * ports[0] >= par[P_ANNOUNCE_DEPTH]:
            reason |= REASON_ANNOUNCE_HALF
        for k in range(1, ports.size):
            if 2 * ports[k] >= par[P_ANNOUNCE_SHORT]:
                reason |= REASON_ANNOUNCE_HALF
        st[S_TICK] = tick + 1
        st[S_REASON] = reason
        done += 1
        if reason != 0:
            break
    return done
