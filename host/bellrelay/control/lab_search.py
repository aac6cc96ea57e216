"""Turning a device of the laboratory to where something that is measured with noise is least.

A search within bounds, a few measurements long. It never leaves the device worse than it was found:
what it came to is measured anew beside what was there before, and kept only if it is better by more
than the two errors may feign; otherwise, and whatever breaks, the device goes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .lab_devices import Attenuator, DelayLine, LabError, PhaseReference, PolarisationController

__all__ = ["Knob", "Measured", "Search", "align", "knob_of"]

_BETTER_SIGMAS = 2.0
_SHRINK = 0.5


@dataclass(frozen=True)
class Measured:
    """A value and its standard error; less is better."""

    value: float
    sigma: float


@dataclass(frozen=True)
class Knob:
    """What is turned: a device's settings as a tuple, and their bounds.

    ranges : (lowest, highest) by setting. read, write : LabError, ValueError.
    """

    ranges: tuple[tuple[float, float], ...]
    read: Callable[[], tuple[float, ...]]
    write: Callable[[tuple[float, ...]], None]


def knob_of(device: object) -> Knob:
    """Of a device with settings. TypeError: of any other."""
    if isinstance(device, PolarisationController):
        return Knob(device.ranges, device.settings, device.set_settings)
    if isinstance(device, PhaseReference):
        phase = device
        return Knob(
            (phase.range_rad,), lambda: (phase.phase_rad(),), lambda x: phase.set_phase_rad(x[0])
        )
    if isinstance(device, DelayLine):
        line = device
        return Knob((line.range_ps,), lambda: (line.delay_ps(),), lambda x: line.set_delay_ps(x[0]))
    if isinstance(device, Attenuator):
        attenuator = device
        return Knob(
            (attenuator.range_db,),
            lambda: (attenuator.attenuation_db(),),
            lambda x: attenuator.set_attenuation_db(x[0]),
        )
    raise TypeError(f"{type(device).__name__} has no settings to turn")


@dataclass(frozen=True)
class Search:
    """What a search came to.

    Attributes
    ----------
    found, left : settings before, and as the device was left
    before, after : measured one after the other, at the end, of `found` and of the best
    kept : whether the best was kept
    trace : all that was measured on the way, in order
    """

    found: tuple[float, ...]
    left: tuple[float, ...]
    before: Measured
    after: Measured
    kept: bool
    trace: tuple[tuple[tuple[float, ...], Measured], ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, plain."""
        return {
            "found": list(self.found),
            "left": list(self.left),
            "before": {"value": self.before.value, "sigma": self.before.sigma},
            "after": {"value": self.after.value, "sigma": self.after.sigma},
            "kept": self.kept,
            "trace": [
                {"settings": list(at), "value": m.value, "sigma": m.sigma} for at, m in self.trace
            ],
        }


def align(
    knob: Knob,
    measure: Callable[[], Measured],
    *,
    step: Sequence[float],
    rounds: int = 4,
    cancelled: Callable[[], bool] = lambda: False,
) -> Search:
    """Turn a knob to where the measured value is least.

    One setting after the other is tried a step to each side. Three values make a parabola: its
    lowest point is where to go, two steps away at most; where it has none, the better side is.
    A step is halved once the best lies between its two sides.

    Parameters
    ----------
    measure
        Measures with the knob as it stands.
    step
        First step by setting, in the knob's unit.
    rounds
        Passes over all settings, at most; 2 measurements each per setting and one more.
    cancelled
        Asked before each measurement.

    Raises
    ------
    LabError, ValueError
        The device's; it was put back as far as it let us (a note of the exception says if not).
    InterruptedError
        It was cancelled; the device was put back.
    """
    found = knob.read()
    if len(step) != len(knob.ranges) or any(s <= 0.0 for s in step):
        raise ValueError(f"a step above 0 is needed for each of {len(knob.ranges)} settings")
    trace: list[tuple[tuple[float, ...], Measured]] = []

    def at(settings: tuple[float, ...]) -> Measured:
        if cancelled():
            raise InterruptedError("cancelled")
        knob.write(settings)
        measured = measure()
        trace.append((settings, measured))
        return measured

    try:
        best = _walk(knob, at, found, step, rounds)
        # Beside one another, and anew: the best of many is luckier than it is good.
        after = at(best)
        before = at(found)
        margin = _BETTER_SIGMAS * math.hypot(before.sigma, after.sigma)
        kept = best != found and after.value + margin < before.value
        if kept:
            knob.write(best)
    except BaseException as error:
        _put_back(knob, found, error)
        raise
    return Search(found, best if kept else found, before, after, kept, tuple(trace))


def _walk(
    knob: Knob,
    at: Callable[[tuple[float, ...]], Measured],
    start: tuple[float, ...],
    step: Sequence[float],
    rounds: int,
) -> tuple[float, ...]:
    here, value = start, at(start)
    steps = list(step)
    for _ in range(rounds):
        for axis, (low, high) in enumerate(knob.ranges):
            width = steps[axis]
            left, right = (min(max(here[axis] + side * width, low), high) for side in (-1.0, 1.0))
            values = {here[axis]: value}
            for position in (left, right):
                if position not in values:
                    values[position] = at(_with(here, axis, position))
            goal = min(max(_lowest(values, here[axis], width), low), high)
            if goal not in values:
                values[goal] = at(_with(here, axis, goal))
            best = min(values, key=lambda position: values[position].value)
            if abs(best - here[axis]) < width:
                # It lies between the two sides: look closer from now on.
                steps[axis] = width * _SHRINK
            here, value = _with(here, axis, best), values[best]
    return here


def _lowest(values: dict[float, Measured], here: float, width: float) -> float:
    """Lowest point of the parabola through three values, two steps away at most."""
    if len(values) < 3:
        return min(values, key=lambda position: values[position].value)
    (x1, y1), (x2, y2), (x3, y3) = sorted((x, m.value) for x, m in values.items())
    slope_12, slope_23 = (y2 - y1) / (x2 - x1), (y3 - y2) / (x3 - x2)
    bend = (slope_23 - slope_12) / (x3 - x1)
    if bend <= 0.0:
        return x1 if y1 < y3 else x3
    lowest = (x1 + x2) / 2.0 - slope_12 / (2.0 * bend)
    return min(max(lowest, here - 2.0 * width), here + 2.0 * width)


def _with(settings: tuple[float, ...], axis: int, value: float) -> tuple[float, ...]:
    return (*settings[:axis], value, *settings[axis + 1 :])


def _put_back(knob: Knob, found: tuple[float, ...], error: BaseException) -> None:
    try:
        knob.write(found)
    except (LabError, OSError, ValueError) as trouble:
        error.add_note(f"the device could not be put back to {found}: {trouble}")
