"""The timeline of a gameday: key, errors, announcements, faults, and what was done when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .gameday_run import Outcome

__all__ = ["Blocks", "Timeline", "by_the_clock", "draw_timeline"]

_COLOURS = {
    "injection": "tab:red",
    "undone": "tab:green",
    "fault": "tab:orange",
    "order": "tab:blue",
}
_SLOW = 5.0


@dataclass(frozen=True)
class Blocks:
    """Blocks that ended with key: link time of their ends, key bits, error rate in Z."""

    link_s: Sequence[float]
    bits: Sequence[int]
    error_z: Sequence[float]


@dataclass(frozen=True)
class Timeline:
    """What was seen.

    samples : of every look, with link_s, utc_ns, active, announced by relay, faults by endpoint,
    answers. relays : their ids in order.
    """

    relays: Sequence[str]
    samples: Sequence[Mapping[str, Any]]
    blocks: Blocks = field(default_factory=lambda: Blocks((), (), ()))

    @property
    def slow(self) -> bool:
        """Whether the light was so slow that what daemons do can be seen by the clock only."""
        if not self.samples:
            return False
        first, last = self.samples[0], self.samples[-1]
        clock_s = (last["utc_ns"] - first["utc_ns"]) * 1e-9
        return bool(clock_s > _SLOW * (last["link_s"] - first["link_s"]))


def by_the_clock(
    timeline: Timeline, outcomes: Sequence[Outcome]
) -> tuple[Timeline, Sequence[Outcome]]:
    """The same with seconds of the clock since the first look in place of link time."""
    clock = np.array([sample["utc_ns"] for sample in timeline.samples], np.float64)
    clock = (clock - clock[0]) * 1e-9
    link = np.array([sample["link_s"] for sample in timeline.samples])

    def at(link_s: float) -> float:
        return float(np.interp(link_s, link, clock))

    samples = [{**s, "link_s": t} for s, t in zip(timeline.samples, clock.tolist(), strict=True)]
    blocks = replace(timeline.blocks, link_s=[at(t) for t in timeline.blocks.link_s])
    moved = [
        replace(
            outcome,
            begun_s=at(outcome.begun_s),
            ended_s=at(outcome.ended_s),
            marks=[replace(mark, link_s=at(mark.link_s)) for mark in outcome.marks],
        )
        for outcome in outcomes
    ]
    return Timeline(timeline.relays, samples, blocks), moved


def draw_timeline(timeline: Timeline, outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw it to a PNG, by the clock where light was slow. OSError: it cannot be written."""
    from matplotlib.figure import Figure

    slow = timeline.slow
    if slow:
        timeline, outcomes = by_the_clock(timeline, outcomes)
    names = sorted({f for s in timeline.samples for each in s["faults"].values() for f in each})
    figure = Figure(figsize=(13, 8.5 + 0.22 * len(names)), layout="constrained")
    heights = [2.2, 1.4, 2.0, 0.3 * max(len(names), 1) + 0.4, 1.0]
    key, errors, counts, faults, marks = figure.subplots(5, 1, sharex=True, height_ratios=heights)
    blocks = timeline.blocks
    key.bar(blocks.link_s, np.array(blocks.bits) / 1000.0, width=1.2, color="tab:purple")
    key.set_ylabel("key / kbit\nper block")
    errors.plot(blocks.link_s, 100.0 * np.array(blocks.error_z), "o", markersize=3)
    errors.set_ylabel("QBER in Z / %")
    errors.set_ylim(bottom=0.0)
    for relay in timeline.relays:
        times, rates = _rates(timeline.samples, relay)
        counts.plot(times, rates / 1000.0, label=relay, linewidth=1.0)
    _active(counts, timeline)
    counts.set_ylabel("announced\nper s / 1000")
    if timeline.relays:
        counts.legend(loc="upper right", fontsize="small")
    for row, name in enumerate(names):
        for begin, end in _spans(timeline.samples, name):
            faults.barh(row, max(end - begin, 0.3), left=begin, height=0.6, color="tab:orange")
    faults.set_yticks(range(len(names)), names, fontsize="small")
    faults.set_ylim(-0.6, max(len(names), 1) - 0.4)
    faults.set_ylabel("faults told")
    for outcome in outcomes:
        marks.axvspan(
            outcome.begun_s,
            outcome.ended_s,
            alpha=0.12,
            color="tab:green" if outcome.passed else "tab:red",
        )
        marks.text(outcome.begun_s, 1.02, outcome.scenario, fontsize="small", va="bottom",
                   rotation=25, transform=marks.get_xaxis_transform())  # fmt: skip
        for mark in outcome.marks:
            for axes in (key, errors, counts, faults):
                axes.axvline(mark.link_s, color=_COLOURS[mark.kind], alpha=0.35, linewidth=0.8)
            row = list(_COLOURS).index(mark.kind)
            marks.plot(mark.link_s, row, "o", color=_COLOURS[mark.kind], markersize=5)
    marks.set_yticks(range(len(_COLOURS)), ["injected", "undone", "told", "done"])
    marks.set_ylim(-0.6, len(_COLOURS) - 0.4)
    marks.set_xlabel("clock / s" if slow else "link time / s")
    figure.suptitle("Gameday (simulation)")
    figure.savefig(path, dpi=110)


def _rates(samples: Sequence[Mapping[str, Any]], relay: str) -> tuple[Any, Any]:
    """Announcements per second of link time, over about a second each."""
    times, rates = [], []
    begin: Mapping[str, Any] | None = None
    for sample in samples:
        if begin is None:
            begin = sample
            continue
        span_s = sample["link_s"] - begin["link_s"]
        if span_s < 1.0:
            continue
        grown = sample["announced"][relay] - begin["announced"][relay]
        times.append(sample["link_s"])
        rates.append(max(grown, 0) / span_s)
        begin = sample
    return np.array(times), np.array(rates)


def _active(axes: Any, timeline: Timeline) -> None:
    """Which relay has the light, as a band below the curves."""
    for number, relay in enumerate(timeline.relays):
        begin = None
        for sample in [*timeline.samples, {"link_s": None, "active": None}]:
            here = sample["active"] == relay
            if here and begin is None:
                begin = last = sample["link_s"]
            elif here:
                last = sample["link_s"]
            elif begin is not None:
                axes.axvspan(begin, last, ymax=0.04, color=f"C{number}", alpha=0.9)
                begin = None


def _spans(samples: Sequence[Mapping[str, Any]], fault: str) -> list[tuple[float, float]]:
    """When a fault was there, by either endpoint."""
    out: list[tuple[float, float]] = []
    begin = None
    for sample in samples:
        there = any(fault in each for each in sample["faults"].values())
        if there and begin is None:
            begin = sample["link_s"]
        elif not there and begin is not None:
            out.append((begin, sample["link_s"]))
            begin = None
    if begin is not None:
        out.append((begin, samples[-1]["link_s"]))
    return out
