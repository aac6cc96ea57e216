"""The calibration step `dead-time`: dead time and afterpulses of each detector, from raw tags.

From the times between clicks: the edge at which a detector recovers, and the excess after it that
dies away as trapped carriers free themselves. The light's own share is taken from long intervals,
so that dead times and traps have to be over well before `reach_ns`.

Pulsed light shows an edge between two pulses by afterpulses and dark counts alone; a detector with
few of both leaves it open, and the step says so (`error_ps`) instead of guessing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from bellrelay.settings.model import Model, between

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .click_intervals import (
    ClickIntervals,
    DeadTimeFit,
    TooFewClicks,
    click_intervals,
    fit_dead_time,
)

__all__ = ["DeadTimeOptions", "DeadTimeStep"]


class DeadTimeOptions(Model):
    """Options of the step."""

    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=2.0, description="for so long raw tags are collected"
    )
    reach_ns: Annotated[float, between(10.0, 1e6, "ns")] = Field(
        default=2000.0,
        description="longest interval between clicks that is looked at; afterpulses must be over "
        "after half of it",
    )
    error_ps: Annotated[float, between(1.0, 1e6, "ps")] = Field(
        default=1000.0, description="a measurement with a larger standard error changes nothing"
    )
    most_afterpulse: Annotated[float, between(0.0, 1.0)] = Field(
        default=0.05, description="a detector with a higher probability is not as it should be"
    )
    change: bool = Field(
        default=True, description="take the measured dead times over where they are others"
    )


class DeadTimeStep:
    """See the module, and :mod:`.click_intervals`."""

    name = "dead-time"
    about = "dead time and afterpulse probability of each detector, from intervals between clicks"
    disturbs = False
    options: type[Model] = DeadTimeOptions

    def run(self, bench: Bench, options: DeadTimeOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        recording = bench.tags(options.seconds)
        fits: list[DeadTimeFit] = []
        looked_at: list[ClickIntervals] = []
        for channel, detector in enumerate(config.detectors):
            bench.check_cancelled()
            intervals = click_intervals(
                recording.of(channel), recording.seconds, reach_ps=1e3 * options.reach_ns
            )
            try:
                fit = fit_dead_time(intervals, float(config.slot_period_ps))
            except TooFewClicks as error:
                raise StepFailed(f"{detector.name}: {error}") from None
            if fit.sigma_dead_time_ps > options.error_ps:
                raise StepFailed(
                    f"{detector.name}: the dead time is known to {fit.sigma_dead_time_ps:.0f} ps "
                    f"only, {options.error_ps:g} ps are asked for: no click falls near its end"
                )
            looked_at.append(intervals)
            fits.append(fit)
        kept = [detector.dead_time_ps for detector in config.detectors]
        new = [
            round(fit.dead_time_ps)
            if abs(fit.dead_time_ps - now) > 3.0 * fit.sigma_dead_time_ps + 0.5
            else now
            for fit, now in zip(fits, kept, strict=True)
        ]
        change = (
            {"detectors": [{"dead_time_ps": value} for value in new]}
            if options.change and new != kept
            else {}
        )
        text = ", ".join(
            f"{detector.name} {fit.dead_time_ps * 1e-3:.2f} +- "
            f"{fit.sigma_dead_time_ps * 1e-3:.2f} ns, afterpulses "
            f"{100 * fit.afterpulse:.2f} +- {100 * fit.sigma_afterpulse:.2f} %"
            for detector, fit in zip(config.detectors, fits, strict=True)
        )
        ok = all(
            fit.afterpulse - 2.0 * fit.sigma_afterpulse <= options.most_afterpulse for fit in fits
        )
        names = [detector.name for detector in config.detectors]
        return StepResult(
            ok,
            text,
            {
                "detectors": [
                    {
                        "name": name,
                        "clicks_per_s": intervals.clicks_per_s,
                        "dead_time_ps": fit.dead_time_ps,
                        "sigma_dead_time_ps": fit.sigma_dead_time_ps,
                        "edge_ps": fit.edge_ps,
                        "afterpulse": fit.afterpulse,
                        "sigma_afterpulse": fit.sigma_afterpulse,
                        "trap": fit.trap,
                        "sigma_trap": fit.sigma_trap,
                        "tau_ps": fit.tau_ps,
                        "sigma_tau_ps": fit.sigma_tau_ps,
                    }
                    for name, intervals, fit in zip(names, looked_at, fits, strict=True)
                ],
                "lost": recording.lost,
                "seconds": recording.seconds,
            },
            change=change,
            draw=lambda path: draw_intervals(path, names, looked_at, fits, kept),
        )


def draw_intervals(
    path: Path,
    names: list[str],
    intervals: list[ClickIntervals],
    fits: list[DeadTimeFit],
    before_ps: list[int],
) -> None:
    """Hazards with their fits, to a PNG: the edge on the left, the traps on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 2.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(names), 2, squeeze=False)
    for (edge, tail), name, one, fit, before in zip(
        rows, names, intervals, fits, before_ps, strict=True
    ):
        x = one.middles_ps * 1e-3
        near = np.abs(x - fit.dead_time_ps * 1e-3) < 8.0
        edge.step(x[near], one.counts[near], where="mid", lw=0.8, label=f"{name}, measured")
        edge.plot(x[near], fit.expected[near], lw=1.0, label="fit")
        edge.axvline(before * 1e-3, color="C7", ls=":", label="before")
        edge.axvline(fit.dead_time_ps * 1e-3, color="C2", label="measured dead time")
        edge.set_ylabel("intervals")
        edge.legend(fontsize="x-small")
        # Ten nanoseconds together: pulses aside.
        bins = max(1, round(10_000.0 / one.bin_ps))
        last = min(len(x), round(6e5 / one.bin_ps)) // bins * bins
        together = (
            values[:last].reshape(-1, bins).sum(axis=1)
            / np.maximum(one.survivors[:last].reshape(-1, bins).mean(axis=1), 1.0)
            for values in (one.counts, fit.expected)
        )
        middles = x[:last].reshape(-1, bins).mean(axis=1)
        seen, expected = together
        tail.plot(middles, 1e3 * seen, ".", ms=4)
        tail.plot(middles, 1e3 * expected, lw=1.0)
        tail.set_ylabel("per 1000 intervals, in 10 ns")
    for axes in rows[-1]:
        axes.set_xlabel("time since the click before (ns)")
    figure.savefig(path, dpi=120)
