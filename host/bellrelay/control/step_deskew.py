"""The calibration step `deskew`: the delay of each detector's way to the board.

The pulses of every detector are brought to where those of the first one are, by maximum likelihood
on the board's arrival times. Nothing is changed that is less wrong than `least_ps`, or than three
standard errors.

Pulses look alike: a delay that is wrong by more than half of their distance is brought to the wrong
one. Cables that differ by so much are measured once, by the board's calibration output.
"""

from __future__ import annotations

import math

import numpy as np

from bellrelay.settings.model import Model

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .pulse_search import nearest_turn
from .slot_light import ArrivalOptions, draw_slots, light_of, measured_light

__all__ = ["DeskewStep"]


class DeskewStep:
    """See the module."""

    name = "deskew"
    about = "delay of each detector against the first, from the pulses' arrival times"
    disturbs = False
    options: type[Model] = ArrivalOptions

    def run(self, bench: Bench, options: ArrivalOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        histogram, _ = measured_light(bench, options.seconds)
        places = tuple(map(float, config.pulse_centres_ps))
        first, shifts = light_of(histogram[0], config, places, config.detectors[0].name)
        found = tuple(place + shift for place, shift in zip(places, shifts, strict=True))
        late, sigma = [0.0], [0.0]
        widths = [first.positions.width_ps]
        own = first.positions.sigma_position_ps
        for number, detector in enumerate(config.detectors[1:], 1):
            light, shifts = light_of(histogram[number], config, found, detector.name)
            errors = np.hypot(light.positions.sigma_position_ps, own)
            weight = 1.0 / errors**2
            period = float(config.slot_period_ps)
            difference = np.array([nearest_turn(shift, period) for shift in shifts])
            late.append(float(np.average(difference, weights=weight)))
            sigma.append(1.0 / math.sqrt(float(weight.sum())))
            widths.append(light.positions.width_ps)
        if max(sigma) > options.error_ps:
            raise StepFailed(
                f"known to {max(sigma):.1f} ps only, {options.error_ps:g} ps are asked for: more "
                "light, or a longer time"
            )
        wrong = [
            abs(by) > max(3.0 * error, options.least_ps)
            for by, error in zip(late, sigma, strict=True)
        ]
        # A board counts in whole picoseconds.
        values = [
            detector.deskew_ps + (round(by) if is_wrong else 0)
            for detector, by, is_wrong in zip(config.detectors, late, wrong, strict=True)
        ]
        limit = bench.geometry.max_deskew_ps
        if any(abs(value) > limit for value in values):
            raise StepFailed(f"deskew would be {values} ps; the board can do up to {limit} ps")
        change = {"detectors": [{"deskew_ps": value} for value in values]} if any(wrong) else {}
        text = ", ".join(
            f"{detector.name} {value} ps ({by:+.1f} +- {error:.1f})"
            for detector, value, by, error in zip(
                config.detectors[1:], values[1:], late[1:], sigma[1:], strict=True
            )
        )
        windows = [config.windows.early, config.windows.late]
        return StepResult(
            True,
            text,
            {
                "late_ps": late,
                "sigma_ps": sigma,
                "deskew_ps": values,
                "width_ps": widths,
                "counts": histogram.sum(axis=1).tolist(),
            },
            change=change,
            draw=lambda path: draw_slots(
                path,
                config,
                histogram,
                f"deskew: {text}",
                [(float(a), float(b)) for a, b in windows],
                [],
                [by if is_wrong else 0.0 for by, is_wrong in zip(late, wrong, strict=True)],
            ),
        )
