"""Random acquisitions, and what must come out of them: the bit-exact bench of all boards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.reference import LINK_KINDS, Acquisition, reference_acquisition
from bellrelay.tags.relay_config import RelayConfig
from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table

from .board import fine_code, fine_table
from .board_session import Recording

__all__ = ["Load", "RandomAcquisition", "differences", "random_acquisition"]

Load = Literal["sparse", "pairs", "saturated"]
"""``sparse``: now and then a click. ``pairs``: bursts within a slot. ``saturated``: a click in
almost every cell of every channel."""

_ONE_PS = 1 << 48


@dataclass(frozen=True)
class RandomAcquisition:
    """A configuration, arrivals in ps since cell 0, and how long to run."""

    geometry: BoardGeometry
    registers: dict[str, tuple[int, ...]]
    t: NDArray[np.int64]
    channel: NDArray[np.uint8]
    ticks: int

    def reference(self, n_ticks: int) -> Acquisition:
        """What the array functions make of it, if the board ran for ``n_ticks`` ticks."""
        g, r = self.geometry, self.registers
        rate = r["rate_hi"][0] << 32 | r["rate_lo"][0]
        config = RelayConfig(
            geometry=g,
            slot_period_ps=r["slot_period_ps"][0],
            early=(r["early_start"][0], r["early_end"][0]),
            late=(r["late_start"][0], r["late_end"][0]),
            deskew_ps=r["deskew_ps"],
            dead_time_ps=r["dead_time_ps"],
            extending=tuple(bool(r["dead_extend"][0] >> d & 1) for d in range(g.n_detectors)),
            pattern=r["pattern"],
            phase_ps=r["phase_ps"][0],
            rate=rate,
            trims=r["trim"],
            announce_not_live=bool(r["announce_not_live"][0]),
            hist_shift=r["hist_shift"][0],
            stream_mask=r["stream_mask"][0],
        )
        return reference_acquisition(*self.tags(n_ticks), config, n_ticks)

    def tags(self, n_ticks: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Raw tags: arrivals through the front end, one per channel and cell, in fine codes."""
        g = self.geometry
        inside = self.t < n_ticks * g.tick_ps
        t, channel = self.t[inside], self.channel[inside]
        cell, f = np.divmod(t, g.clock_period_ps)
        _, first = np.unique(cell * 256 + channel, return_index=True)
        first.sort()
        quantised = cell * g.clock_period_ps + fine_table(g)[fine_code(f, g)]
        return quantised[first], channel[first]


def random_acquisition(
    seed: int, geometry: BoardGeometry, load: Load, ticks: int = 3
) -> RandomAcquisition:
    """A case from a seed.

    Raises
    ------
    ValueError
        Unknown load.
    """
    if load not in get_args(Load):
        raise ValueError(f"load is {load!r}; allowed: {', '.join(get_args(Load))}")
    rng = np.random.default_rng(seed)
    g, n = geometry, geometry.n_detectors
    clock = g.clock_period_ps

    def one_of(*values: int) -> int:
        return int(values[rng.integers(len(values))])

    period = one_of(
        1000, int(rng.integers(1000, 2 * clock)), clock, 2 * clock, int(rng.integers(2000, 60_000))
    )
    edges = sorted(int(e) for e in rng.integers(0, period + 1, 4))
    if rng.random() < 0.5:
        edges = [0, period // 2, period // 2, period]
    windows = [(edges[0], edges[1]), (edges[2], edges[3])]
    if rng.random() < 0.2:
        windows.reverse()
    polarised = n == 4 and rng.random() < 0.3
    ports = (0, 0, 1, 1) if n == 4 else (0, 1)
    if polarised and rng.random() < 0.5:
        windows[1] = (0, 0)
    limit = g.max_deskew_ps
    deskew = rng.integers(-limit, limit + 1, n + 1) if rng.random() < 0.6 else np.zeros(n + 1, int)
    dead = [
        one_of(0, 1, clock, int(rng.integers(0, 12 * clock)), int(rng.integers(0, 60 * clock)))
        for _ in range(n)
    ]
    rate = one_of(0, 1, -1, int(rng.integers(-4 * _ONE_PS, 4 * _ONE_PS)))
    least = g.n_channels * g.hist_bins // g.hist_chunk + 1
    registers = {
        "acquisition": (int(rng.integers(1, 1 << 32)),),
        "start_utc_lo": (int(rng.integers(0, 1 << 32)),),
        "start_utc_hi": (int(rng.integers(0, 1 << 32)),),
        "heartbeat_ticks": (int(rng.integers(1, 5)),),
        "flush_ticks": (int(rng.integers(1, 5)),),
        "stream_mask": (one_of(0, (1 << n + 1) - 1, int(rng.integers(0, 1 << n + 1))),),
        "hist_ticks": (one_of(0, least, least + 3),),
        "hist_shift": (int(rng.integers(0, 12)),),
        "announce_not_live": (int(rng.random() < 0.3),),
        "loss_quiet_ticks": (int(rng.integers(1, 4)),),
        "slot_period_ps": (period,),
        "phase_ps": (int(rng.integers(0, period)),),
        "rate_lo": (rate & 0xFFFF_FFFF,),
        "rate_hi": (rate >> 32,),
        "trim": (one_of(0, int(rng.integers(-(1 << 31), 1 << 31))),),
        "early_start": (windows[0][0],),
        "early_end": (windows[0][1],),
        "late_start": (windows[1][0],),
        "late_end": (windows[1][1],),
        "deskew_ps": tuple(int(d) for d in deskew),
        "dead_time_ps": tuple(dead),
        "dead_extend": (int(rng.integers(0, 1 << n)),),
        "align_cells": (max(0, -(-int(deskew.max()) // clock)) + 2,),
        "pattern": tuple(pattern_table("polarisation" if polarised else "time-bin", ports)),
    }
    t, channel = _arrivals(rng, g, load, period, ticks)
    return RandomAcquisition(g, registers, t, channel, ticks)


def _arrivals(
    rng: np.random.Generator, g: BoardGeometry, load: Load, period: int, ticks: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    # Longer than the run, so that its end cuts through clicks.
    end = (ticks + 4) * g.tick_ps
    cells = end // g.clock_period_ps
    if load == "saturated":
        cell = np.repeat(np.arange(cells), g.n_channels)
        channel = np.tile(np.arange(g.n_channels), cells)
        t = cell * g.clock_period_ps + rng.integers(0, g.clock_period_ps, cell.size)
        keep = rng.random(cell.size) < rng.choice([1.0, 0.97, 0.6])
        t, channel = t[keep], channel[keep]
    elif load == "pairs":
        bursts = max(1, int(cells * rng.choice([0.02, 0.1])))
        start = rng.integers(0, end, bursts)
        size = rng.integers(1, 5, bursts)
        t = np.repeat(start, size) + rng.integers(0, period, int(size.sum()))
        channel = rng.integers(0, g.n_channels, t.size)
    else:
        t = rng.integers(0, end, max(1, int(cells * 0.03)))
        channel = rng.integers(0, g.n_channels, t.size)
    order = np.lexsort((channel, t))
    return t[order].astype(np.int64), channel[order].astype(np.uint8)


def differences(case: RandomAcquisition, recording: Recording) -> list[str]:
    """What a board's recording has different from the array functions, in words; empty if nothing.

    Losses behind the classifier are the board's to account for: what came, was lost and was shed
    must add up, and what came must be what the functions have, in order.
    """
    expected = case.reference(recording.n_ticks)
    got = recording.final.counters
    out: list[str] = []
    accounted = LINK_KINDS | {"announced_psi_minus", "announced_psi_plus"}
    for counter in counters(case.geometry):
        name = counter.name
        if counter.kind in accounted:
            continue
        if got[name] != expected.counters[name]:
            out.append(f"{name}: board {got[name]}, reference {expected.counters[name]}")
    for kind in ("psi_minus", "psi_plus"):
        total = sum(got[f"{fate}_{kind}"] for fate in ("announced", "lost", "shed"))
        offered = expected.counters[f"announced_{kind}"]
        if total != offered:
            out.append(f"{kind}: announced, lost and shed are {total}, reference {offered}")
    for name in ("misaligned", "commands_bad", "commands_dropped"):
        out += [
            f"{c.name}: {got[c.name]}"
            for c in counters(case.geometry)
            if c.kind == name and got[c.name]
        ]
    announced = got["announced_psi_minus"] + got["announced_psi_plus"]
    if recording.slot.size != announced:
        out.append(f"{recording.slot.size} announcements came, {announced} were admitted")
    _subsequence(
        out,
        "announcements",
        recording.slot.astype(np.int64) * 4 + recording.outcome,
        expected.announced_slot.astype(np.int64) * 4 + expected.announced_outcome,
    )
    for channel in range(case.geometry.n_channels):
        reference = expected.raw_tags.get(channel, np.empty(0, np.int64))
        came = recording.tags.get(channel, np.empty(0, np.int64))
        gone = got[f"tags_lost_{channel}"] + got[f"tags_shed_{channel}"]
        if came.size + gone != reference.size:
            out.append(f"tags {channel}: {came.size} came, {gone} gone, of {reference.size}")
        _subsequence(out, f"tags {channel}", came, reference)
    if case.registers["hist_ticks"][0] and not got["frames_skipped"]:
        wrong = int(np.count_nonzero(recording.histogram != expected.histogram))
        if wrong:
            out.append(f"histogram: {wrong} bins differ")
    fields = recording.final.fields
    if got["sync"] and (fields["sync_slot"], fields["sync_pos"]) != (
        expected.sync_slot,
        expected.sync_position,
    ):
        out.append(
            f"sync: board {fields['sync_slot']}, {fields['sync_pos']}, "
            f"reference {expected.sync_slot}, {expected.sync_position}"
        )
    if fields["cut_slot"] != expected.counters["slots"]:
        out.append(f"cut_slot: board {fields['cut_slot']}, reference {expected.counters['slots']}")
    return out


def _subsequence(
    out: list[str], what: str, part: NDArray[np.int64], whole: NDArray[np.int64]
) -> None:
    if np.any(part[1:] <= part[:-1]):
        out.append(f"{what}: not strictly increasing")
    strangers = part[~np.isin(part, whole)]
    if strangers.size:
        out.append(f"{what}: {strangers.size} that the reference has not, first {strangers[0]}")
