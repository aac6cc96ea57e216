"""The calibration step `phase`: the slot's beginning, so that pulses lie where they belong.

That is at `tracking.centres_ps` where the relay's YAML has them, else in the middle of the windows.
The relay's tracking moves the slot clock while it runs: it finds the pulses sooner from a phase
that is right.

Slots keep their numbers: where the phase would leave the slot, the delays of all detectors take
what is left.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bellrelay.relay.config import RelayConfig
from bellrelay.settings.model import Model, between

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .slot_light import ArrivalOptions, draw_slots, light_of, measured_light

__all__ = ["PhaseOptions", "PhaseStep", "phase_change"]


class PhaseOptions(ArrivalOptions):
    """Options of the step."""

    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=1.0, description="for so long the arrival times are collected"
    )


def phase_change(config: RelayConfig, late_ps: int) -> dict[str, Any]:
    """Settings that bring light which is late by so much to where it belongs.

    Slots keep their numbers: where the phase would leave the slot, the delays of all detectors
    take what is left. (A phase a slot away would give the same places, and all numbers changed by
    one.)
    """
    period = round(config.slot_period_ps)
    wanted = config.phase_ps - late_ps
    phase = min(max(wanted, 0), period - 1)
    out: dict[str, Any] = {}
    if phase != config.phase_ps:
        out["phase_ps"] = phase
    if phase != wanted:
        out["detectors"] = [
            {"deskew_ps": detector.deskew_ps + phase - wanted} for detector in config.detectors
        ]
    return out


class PhaseStep:
    """See the module."""

    name = "phase"
    about = "begin of the slot at the acquisition's start, from the pulses' arrival times"
    disturbs = False
    options: type[Model] = PhaseOptions

    def run(self, bench: Bench, options: PhaseOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        histogram, _ = measured_light(bench, options.seconds)
        places = tuple(map(float, config.pulse_centres_ps))
        light, shifts = light_of(histogram.sum(axis=0), config, places, "all detectors")
        weight = 1.0 / light.positions.sigma_position_ps**2
        late = float((weight * shifts).sum() / weight.sum())
        sigma = light.positions.sigma_shift_ps
        if sigma > options.error_ps:
            raise StepFailed(
                f"known to {sigma:.1f} ps only, {options.error_ps:g} ps are asked for: more light, "
                "or a longer time"
            )
        wrong = abs(late) > max(3.0 * sigma, options.least_ps)
        change = phase_change(config, round(late)) if wrong else {}
        limit = bench.geometry.max_deskew_ps
        if any(abs(d["deskew_ps"]) > limit for d in change.get("detectors", ())):
            raise StepFailed(f"deskew would leave the board's {limit} ps: {change['detectors']}")
        text = f"pulses late by {late:.1f} +- {sigma:.1f} ps" + (
            f", corrected by {' and '.join(change)}" if change else ""
        )
        windows = [config.windows.early, config.windows.late]
        return StepResult(
            True,
            text,
            {
                "late_ps": late,
                "sigma_ps": sigma,
                "shifts_ps": list(shifts),
                "places_ps": list(places),
                "width_ps": light.positions.width_ps,
                "phase_ps": change.get("phase_ps", config.phase_ps),
            },
            change=change,
            draw=lambda path: draw_slots(
                path,
                config,
                histogram,
                f"phase: {text}",
                [(float(a), float(b)) for a, b in windows],
                [],
                [late if wrong else 0.0] * len(config.detectors),
            ),
        )
