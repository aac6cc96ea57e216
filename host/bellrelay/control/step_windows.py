"""The calibration step `windows`: gate windows that give the most key.

Wider windows keep more of each pulse and let in more noise. The board's arrival times say how much
of both, the closed form of the link says what key comes of it; its parameters are what the
endpoints declare, and move the best windows little. Noise holds afterpulses, too.

Windows are changed if that gives `least_gain` more. All windows get one shape about their pulses,
and reach half of the way to the next pulse at most.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from bellrelay.physics import Encoding
from bellrelay.settings.model import Model, between

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .slot_light import draw_slots, light_of, measured_light
from .window_choice import best_windows, slot_profile

__all__ = ["WindowsOptions", "WindowsStep"]


class WindowsOptions(Model):
    """Options of the step."""

    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=2.0, description="for so long the arrival times are collected"
    )
    signal: Annotated[float, between(0.001, 3.0, "photons")] = Field(
        default=0.4, description="mean photon number of the endpoints' signals"
    )
    mean_photons: Annotated[float, between(0.001, 3.0, "photons")] = Field(
        default=0.25, description="what an endpoint sends in a slot, over all its settings"
    )
    misalignment: Annotated[float, between(0.0, 0.5)] = Field(
        default=0.01, description="share of bits that are wrong without any noise"
    )
    overlap: Annotated[float, between(0.0, 1.0)] = Field(
        default=0.95, description="squared overlap of the modes"
    )
    reserve_ps: Annotated[float, between(0.0, 1e6, "ps")] = Field(
        default=0.0, description="by so much both edges go out further, for pulses that drift"
    )
    least_gain: Annotated[float, between(0.0, 1.0)] = Field(
        default=0.002, description="a smaller gain of rate changes nothing"
    )


class WindowsStep:
    """See the module, and :mod:`.window_choice`."""

    name = "windows"
    about = "gate windows with the highest key rate, from light and noise in the slot"
    disturbs = False
    options: type[Model] = WindowsOptions

    def run(self, bench: Bench, options: WindowsOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        histogram, slots = measured_light(bench, options.seconds)
        period = round(config.slot_period_ps)
        near = tuple(map(float, config.pulse_centres_ps))
        light, _ = light_of(histogram.sum(axis=0), config, near, "all detectors")
        centres = tuple(map(float, light.positions.position_ps))
        if list(centres) != sorted(centres):
            raise StepFailed(
                f"the pulses lie at {', '.join(f'{c:.0f}' for c in centres)} ps, over the slot's "
                "end: phase"
            )
        both = (config.windows.early, config.windows.late)
        before = tuple(w for w in both if w[1] > w[0])
        try:
            profile = slot_profile(
                histogram.astype(np.int64),
                slots,
                bin_ps=config.histogram.bin_ps,
                period_ps=period,
                centres_ps=centres,
                width_ps=light.positions.width_ps,
            )
            brightest = float(profile.light.sum(axis=1).max())
            eta = min(len(profile.light) * brightest / (2.0 * options.mean_photons), 1.0)
            choice = best_windows(
                profile,
                period,
                before,
                eta=eta,
                signal=options.signal,
                misalignment=options.misalignment,
                mode_overlap=options.overlap,
                encoding=Encoding(config.encoding),
                reserve_ps=options.reserve_ps,
            )
        except ValueError as error:
            raise StepFailed(str(error)) from None
        better = choice.rate > (1.0 + options.least_gain) * choice.rate_before
        names = ("early", "late")[: len(before)]
        windows = dict(zip(names, choice.windows, strict=True))
        chosen = {name: list(window) for name, window in windows.items()}
        gain = choice.rate / choice.rate_before - 1.0 if choice.rate_before > 0.0 else float("inf")
        text = (
            ", ".join(f"{name} {a} to {b} ps" for name, (a, b) in windows.items())
            + f": {100 * gain:+.2f} % of the rate"
            + ("" if better else "; left as they are")
        )
        return StepResult(
            True,
            text,
            {
                "windows": chosen,
                "rate": choice.rate,
                "rate_before": choice.rate_before,
                "gain": gain,
                "centres_ps": list(centres),
                "sigma_centres_ps": light.positions.sigma_position_ps.tolist(),
                "width_ps": light.positions.width_ps,
                "noise_per_slot_and_ns": (1e3 * profile.noise).tolist(),
                "light_per_slot": profile.light.sum(axis=1).tolist(),
                "eta": eta,
            },
            change={"windows": chosen} if better else {},
            draw=lambda path: draw_slots(
                path,
                config,
                histogram,
                f"windows: {text}",
                [(float(a), float(b)) for a, b in before],
                [(float(a), float(b)) for a, b in choice.windows],
            ),
        )
