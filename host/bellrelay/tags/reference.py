"""A whole acquisition from raw tags, stage after stage: what a board must agree with.

It works on arrays and is written to be read against docs/reference/stages.md, not to be fast. What
depends on time that passes outside the tags (capture banks, the link's buffer, commands) is not
here: see :data:`LINK_KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.counters import counters
from bellrelay.wire.outcomes import Outcome, SlotClass

from .bitmap import SlotBitmaps, slot_bitmaps
from .bsm import BELL_CLASSES, classes_of, outcomes_of, pair_counts
from .dead_time import dead_cells, kept_clicks, starts_dead_interval
from .deskew import deskewed, time_order
from .gate import Bin, first_opening, gated
from .histogram import arrival_histogram
from .liveness import BlindSlots, blind_slots
from .pile_up import resolved
from .relay_config import RelayConfig
from .slot_clock import SlotClock

__all__ = ["LINK_KINDS", "Acquisition", "AlignedTags", "reference_acquisition"]

LINK_KINDS = frozenset(
    {
        "misaligned",
        "tags_lost",
        "tags_shed",
        "lost_psi_minus",
        "lost_psi_plus",
        "shed_psi_minus",
        "shed_psi_plus",
        "frames_skipped",
        "commands_bad",
        "commands_dropped",
    }
)
"""Families of counters that are 0 here: nothing is lost behind the classifier, and `align_cells`
is taken to cover the deskew. Announcements are those offered to the banks: compare with the sum of
announced, lost and shed."""


@dataclass(frozen=True)
class AlignedTags:
    """Tags after the align stage, in order of (time, channel), suppressed ones included.

    Attributes
    ----------
    t : (n,) int64, ps, deskewed, not negative
    channel : (n,) uint8
    kept : (n,) bool, false where the dead time suppressed a click
    slot : (n,) uint64
    position, v : (n,) int64, ps; `v = slot * T + position`
    bins : (n,) uint8 of Bin; for suppressed clicks and sync tags as if they were kept clicks
    """

    t: NDArray[np.int64]
    channel: NDArray[np.uint8]
    kept: NDArray[np.bool_]
    slot: NDArray[np.uint64]
    position: NDArray[np.int64]
    v: NDArray[np.int64]
    bins: NDArray[np.uint8]


@dataclass(frozen=True)
class Acquisition:
    """What an acquisition comes to.

    Attributes
    ----------
    counters : dict of str to int
        Every counter of the board by name; those of LINK_KINDS are 0.
    announced_slot : (n,) uint64, ascending
    announced_outcome : (n,) uint8 of Outcome
    raw_tags : dict of channel to (n,) int64
        Raw tags (ps) of the channels in the stream mask.
    histogram : (n_channels, hist_bins) int64
        All tags that are kept, by channel and bin.
    bitmaps, not_live, classes
        Closed slots with a bitmap, (n,) bool and (n,) uint8 of SlotClass beside them.
    tags : AlignedTags
    sync_slot, sync_position : int
        Of the last sync tag; 0 if there was none.
    """

    counters: dict[str, int]
    announced_slot: NDArray[np.uint64]
    announced_outcome: NDArray[np.uint8]
    raw_tags: dict[int, NDArray[np.int64]]
    histogram: NDArray[np.int64]
    bitmaps: SlotBitmaps
    not_live: NDArray[np.bool_]
    classes: NDArray[np.uint8]
    tags: AlignedTags
    sync_slot: int
    sync_position: int


def reference_acquisition(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    config: RelayConfig,
    n_ticks: int,
    until_tick: int | None = None,
) -> Acquisition:
    """Counters, announcements and histogram of an acquisition.

    Parameters
    ----------
    t
        (n,) int64 ps since cell 0: raw tags, as the front end's table gives them, not decreasing
        within a channel and at most one per channel and cell. What lies at or after the end of
        `running` is ignored.
    channel
        (n,) uint8: 0 to n_detectors - 1, and n_detectors for sync.
    config
        Settings of the relay.
    n_ticks
        Ticks in which the board ran; the draining tick comes on top.
    until_tick
        Cut: only what the heartbeat at the end of tick `until_tick - 1` covers. Default: all, the
        draining tick included (`n_ticks + 1`).

    Raises
    ------
    ValueError
        Tags out of order, before cell 0, twice in a cell, or of an unknown channel.
    """
    g = config.geometry
    n = g.n_detectors
    _check(t, channel, config)
    end_tick = n_ticks + 1 if until_tick is None else until_tick
    end_cell = end_tick * g.tick_clocks
    end_ps = end_cell * g.clock_period_ps
    totals = {c.name: 0 for c in counters(g)}

    def count(kind: str, which: NDArray[np.uint8]) -> None:
        for i, number in enumerate(np.bincount(which, minlength=256).tolist()):
            if number:
                totals[f"{kind}_{i}"] += number

    # Raw axis: front end, raw tags, pile-up, dead time.
    running = (t < n_ticks * g.tick_ps) & (t < end_ps)
    order = time_order(t[running], channel[running])
    t, channel = t[running][order], channel[running][order]
    count("clicks", channel)
    raw_tags = {c: t[channel == c] for c in range(g.n_channels) if config.stream_mask >> c & 1}
    passes = resolved(t, channel, g.clock_period_ps)
    count("pile_up", channel[~passes])
    t, channel = t[passes], channel[passes]
    kept = kept_clicks(t, channel, config.dead_time_ps, config.extending)
    count("dead_time", channel[~kept])
    starting = starts_dead_interval(kept, channel, config.extending)
    for d, dead_time in enumerate(config.dead_time_ps):
        mine = t[starting & (channel == d)]
        totals[f"dead_cells_{d}"] = dead_cells(mine, dead_time, g.clock_period_ps, end_cell)

    # Deskewed axis: align, slot clock, liveness.
    aligned = deskewed(t, channel, config.deskew_ps)
    count("before_start", channel[kept & (aligned < 0)])
    inside = (aligned >= 0) & (aligned < end_ps)
    order = time_order(aligned[inside], channel[inside])
    aligned, channel = aligned[inside][order], channel[inside][order]
    kept, starting = kept[inside][order], starting[inside][order]
    clock = SlotClock(
        slot_period_ps=config.slot_period_ps,
        phase_ps=config.phase_ps,
        clock_period_ps=g.clock_period_ps,
        tick_clocks=g.tick_clocks,
        n_ticks=end_tick,
        rate=config.rate,
        trims=config.trims,
    )
    slot, position, v = clock.place(aligned)
    n_slots = clock.closed_slots(end_cell)
    totals["slots"] = n_slots
    blind = blind_slots(
        slot[starting].astype(np.int64),
        v[starting],
        np.asarray(config.dead_time_ps, dtype=np.int64)[channel[starting]],
        config.slot_period_ps,
        first_opening(config.early, config.late),
    )
    totals["slots_not_live"] = blind.count(n_slots)

    # Sync and histogram, before the gate.
    sync = np.flatnonzero(channel == n)
    totals["sync"] = sync.size
    histogram = arrival_histogram(
        position[kept],
        channel[kept],
        bin_ps=1 << config.hist_shift,
        n_bins=g.hist_bins,
        n_channels=g.n_channels,
    )

    # Gate, bitmap, classes.
    bins = gated(position, config.early, config.late)
    clicks = kept & (channel < n)
    count("outside", channel[clicks & (bins == Bin.OUTSIDE)])
    count("early", channel[clicks & (bins == Bin.EARLY)])
    count("late", channel[clicks & (bins == Bin.LATE)])
    closing = clicks & (slot < n_slots)
    bitmaps = slot_bitmaps(slot[closing], channel[closing], bins[closing], n)
    not_live, classes = _classify(bitmaps, blind, config)
    for code in SlotClass:
        totals[f"class_{code.value}"] = int(np.count_nonzero(classes == code))
    for (i, j), number in pair_counts(bitmaps.mask, n).items():
        totals[f"pair_{i}_{j}"] = number
    announced = np.isin(classes, BELL_CLASSES)
    outcomes = outcomes_of(classes[announced])
    totals["announced_psi_minus"] = int(np.count_nonzero(outcomes == Outcome.PSI_MINUS))
    totals["announced_psi_plus"] = int(np.count_nonzero(outcomes == Outcome.PSI_PLUS))

    return Acquisition(
        counters=totals,
        announced_slot=bitmaps.slot[announced].astype(np.uint64),
        announced_outcome=outcomes,
        raw_tags=raw_tags,
        histogram=histogram,
        bitmaps=bitmaps,
        not_live=not_live,
        classes=classes,
        tags=AlignedTags(aligned, channel, kept, slot, position, v, bins),
        sync_slot=int(slot[sync[-1]]) if sync.size else 0,
        sync_position=int(position[sync[-1]]) if sync.size else 0,
    )


def _classify(
    bitmaps: SlotBitmaps, blind: BlindSlots, config: RelayConfig
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    not_live = blind.contains(bitmaps.slot.astype(np.int64))
    classes = classes_of(
        bitmaps.mask, bitmaps.multi, not_live, config.pattern, config.announce_not_live
    )
    return not_live, classes


def _check(t: NDArray[np.int64], channel: NDArray[np.uint8], config: RelayConfig) -> None:
    g = config.geometry
    if t.size != channel.size:
        raise ValueError(f"{t.size} times and {channel.size} channels")
    if t.size and int(t.min()) < 0:
        raise ValueError("a tag lies before cell 0")
    if channel.size and int(channel.max()) >= g.n_channels:
        raise ValueError(f"channel {int(channel.max())}; allowed: 0 to {g.n_channels - 1}")
    for c in range(g.n_channels):
        cells = t[channel == c] // g.clock_period_ps
        if np.any(np.diff(t[channel == c]) < 0) or np.any(np.diff(cells) == 0):
            raise ValueError(f"channel {c}: out of order, or twice in one clock period")
