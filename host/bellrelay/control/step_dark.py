"""The calibration step `dark`: dark counts of each detector, from raw tags.

Counted are clicks between the pulses that come at least `quiet_ns` after the detector's click
before: nearer ones are afterpulses, mostly. Key generation goes on. With `light: off` the pulses
are not looked for: something else keeps the light away, and all clicks count.

Where the link loses tags, the holes in them are left out. A detector fails if its rate lies above
`most_hz` with the given confidence; where the interval holds the limit, the text says that it is
open, and a longer time would tell.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from bellrelay.relay.config import RelayConfig
from bellrelay.relay.register_values import slot_rate
from bellrelay.settings.model import Model, between

from .calibration_bench import Bench, TagRecording
from .calibration_step import StepFailed, StepResult
from .pulse_positions import TooFewCounts
from .pulse_search import find_pulses
from .quiet_counts import QuietCounts, quiet_counts
from .tag_positions import TagPositions

__all__ = ["DarkOptions", "DarkStep", "between_pulses"]

_BIN_PS = 32
_AWAY = 6.0
"""Widths from a pulse from which on its light is over."""
_NEVER = 40.0
"""Mean times between clicks."""


def _switch(value: Any) -> Any:
    # YAML takes a bare `off` for false.
    return {False: "off", True: "on"}.get(value, value) if isinstance(value, bool) else value


class DarkOptions(Model):
    """Options of the step."""

    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=10.0, description="for so long raw tags are collected"
    )
    light: Annotated[Literal["on", "off"], BeforeValidator(_switch)] = Field(
        default="on", description="on: count between the pulses; off: nothing arrives meanwhile"
    )
    quiet_ns: Annotated[float, between(1.0, 1e6, "ns")] = Field(
        default=500.0,
        description="time after a click in which nothing is counted: many lifetimes of its traps",
    )
    confidence: Annotated[float, between(0.5, 0.9999)] = Field(
        default=0.95, description="of the interval that is told"
    )
    most_hz: Annotated[float, between(0.0, 1e9, "Hz")] = Field(
        default=1000.0, description="a detector with more is not as it should be"
    )


class DarkStep:
    """See the module, and :mod:`.quiet_counts`."""

    name = "dark"
    about = "dark counts of each detector, from between the pulses or without light"
    disturbs = False
    options: type[Model] = DarkOptions

    def run(self, bench: Bench, options: DarkOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        recording = bench.tags(options.seconds)
        places = _places(recording, config, bench.geometry.clock_period_ps)
        period = round(config.slot_period_ps)
        found: list[QuietCounts] = []
        lit: tuple[tuple[float, float], ...] = ()
        for channel, detector in enumerate(config.detectors):
            bench.check_cancelled()
            t = np.sort(recording.of(channel))
            position = places(t, detector.deskew_ps)
            try:
                if options.light == "on":
                    lit = between_pulses(position, config)
                found.append(
                    quiet_counts(
                        t,
                        position,
                        (recording.begin_ps, recording.end_ps),
                        quiet_ps=1e3 * options.quiet_ns,
                        period_ps=period,
                        lit_ps=lit,
                        hole_ps=_hole(t) if recording.lost else math.inf,
                        confidence=options.confidence,
                    )
                )
            except ValueError as error:
                raise StepFailed(f"{detector.name}: {error}") from None
        names = [detector.name for detector in config.detectors]
        text = ", ".join(
            f"{name} {one.rate_hz:.0f} Hz ({one.low_hz:.0f} to {one.high_hz:.0f}"
            + (", open" if one.low_hz <= options.most_hz < one.high_hz else "")
            + ")"
            for name, one in zip(names, found, strict=True)
        )
        return StepResult(
            all(one.low_hz <= options.most_hz for one in found),
            text,
            {
                "detectors": [
                    {"name": name, **asdict(one)} for name, one in zip(names, found, strict=True)
                ],
                "confidence": options.confidence,
                "most_hz": options.most_hz,
                "light": options.light,
                "seconds": recording.seconds,
                "lost": recording.lost,
            },
            draw=lambda path: _draw(path, names, found, options),
        )


def _places(recording: TagRecording, config: RelayConfig, clock_ps: int) -> Any:
    """Places in a slot of the board's rate, that begins anywhere."""
    period, rate = slot_rate(config.slot_period_ps, clock_ps)
    trims = recording.trims or ((recording.begin_ps, 0),)
    clock = TagPositions(period, 0, rate, clock_ps, trims[0][1])
    for time_ps, trim in trims:
        clock.heartbeat(time_ps - recording.begin_ps, trim)

    def places(t: NDArray[np.int64], deskew_ps: int) -> NDArray[np.int32]:
        # A recording's own time: its slots need no number, only a place that stays.
        own = t - recording.begin_ps - deskew_ps
        return clock.place(own - min(int(own.min(initial=0)) // period * period, 0))[1]

    return places


def _hole(t: NDArray[np.int64]) -> float:
    """How long nothing comes by chance hardly ever, where tags come at random: one of 1e17."""
    return _NEVER * float(np.median(np.diff(t))) / math.log(2.0) if len(t) > 1 else math.inf


def between_pulses(
    position_ps: NDArray[np.integer], config: RelayConfig
) -> tuple[tuple[float, float], ...]:
    """Parts of the slot in which the pulses of these clicks arrive.

    Raises
    ------
    ValueError
        No pulses are seen, or they leave nothing between them.
    """
    period = round(config.slot_period_ps)
    counts = np.bincount(np.asarray(position_ps) // _BIN_PS, minlength=-(-period // _BIN_PS))
    try:
        light, _ = find_pulses(
            counts,
            bin_ps=_BIN_PS,
            period_ps=period,
            near_ps=tuple(map(float, config.pulse_centres_ps)),
        )
    except TooFewCounts as error:
        raise ValueError(f"{error}; light: off, if nothing arrives") from None
    reach = _AWAY * light.positions.width_ps
    if 2.0 * reach * len(light.positions.position_ps) >= period:
        raise ValueError(f"pulses of {light.positions.width_ps:.0f} ps leave nothing between them")
    out: list[tuple[float, float]] = []
    for centre in light.positions.position_ps:
        begin, end = float(centre) - reach, float(centre) + reach
        out += [
            (max(begin + turn, 0.0), min(end + turn, float(period)))
            for turn in (-period, 0, period)
            if end + turn > 0.0 and begin + turn < period
        ]
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(out):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


def _draw(path: Path, names: list[str], found: list[QuietCounts], options: DarkOptions) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rates = np.array([one.rate_hz for one in found])
    below = rates - [one.low_hz for one in found]
    above = np.array([one.high_hz for one in found]) - rates
    axes.errorbar(range(len(names)), rates, (below, above), fmt="o", capsize=4)
    axes.axhline(options.most_hz, color="C3", ls=":", label=f"limit: {options.most_hz:g} Hz")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("dark counts (1/s)")
    axes.set_title(f"dark counts, {100 * options.confidence:g} % intervals", fontsize="small")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
