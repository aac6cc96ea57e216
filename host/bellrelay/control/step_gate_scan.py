"""The calibration step `gate-scan`: the delay of gated detectors' gates, from counts over a scan.

The delay of all gates goes through the slot in `points` steps, each an acquisition of its own; the
middle of the plateau of a detector's counts is where its gate is centred on the light. With
`width_ps` the gates have another width meanwhile, and afterwards. A detector whose counts do not
depend on its gate runs freely, as all of the twin's do, and keeps its delay; so do all where no
gate is configured.

The scan stops key generation. Whatever ends it, the board gets its settings back.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bellrelay.relay.config import RelayConfig
from bellrelay.settings.model import Model, between

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .gate_response import GateResponse, gate_response

__all__ = ["GateScanOptions", "GateScanStep"]


class GateScanOptions(Model):
    """Options of the step."""

    points: Annotated[int, between(8, 200)] = Field(default=24, description="delays over the slot")
    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=0.2, description="at each of them"
    )
    width_ps: Annotated[int, between(1, (1 << 24) - 1, "ps")] | None = Field(
        default=None, description="width of the gates, also afterwards; default: as configured"
    )


class GateScanStep:
    """See the module, and :mod:`.gate_response`."""

    name = "gate-scan"
    about = "delay of gated detectors' gates: the middle of the plateau of counts"
    disturbs = True
    options: type[Model] = GateScanOptions

    def run(self, bench: Bench, options: GateScanOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        config = bench.config
        period = round(config.slot_period_ps)
        widths = [
            options.width_ps if options.width_ps is not None else detector.gate_width_ps
            for detector in config.detectors
        ]
        if not any(widths):
            text = "no detector has a gate: detectors.N.gate_width_ps, or width_ps of this step"
            return StepResult(True, text)
        places = config.pulse_centres_ps
        apart = places[-1] - places[0]
        if any(0 < width <= apart for width in widths):
            raise StepFailed(
                f"gates of {', '.join(map(str, widths))} ps cannot hold pulses {apart} ps apart"
            )
        delays = np.round(np.arange(options.points) * period / options.points).astype(np.int64)
        counts = np.empty((len(config.detectors), len(delays)))
        for at, delay in enumerate(delays):
            bench.check_cancelled()
            with bench.trying(_gated(config, [int(delay)] * len(widths), widths)):
                counted = bench.counted(options.seconds)
            for number in range(len(config.detectors)):
                counts[number, at] = counted.counters[f"clicks_{number}"] / counted.seconds
            bench.tell(f"{delay:8d} ps: {', '.join(f'{c:.0f}' for c in counts[:, at])} clicks/s")
        found: list[GateResponse] = []
        for number, detector in enumerate(config.detectors):
            try:
                # Where both pulses of one slot lie in the gate, not those of two.
                near = (places[0] + places[-1] - widths[number]) / 2 % period
                response = gate_response(delays, counts[number] * options.seconds, period, near)
            except ValueError as error:
                raise StepFailed(f"{detector.name}: {error}") from None
            found.append(response)
        new = [
            {
                "gate_delay_ps": round(one.centre_ps) % period,
                **({"gate_width_ps": width} if options.width_ps is not None else {}),
            }
            if one.gated and width
            else {}
            for one, width in zip(found, widths, strict=True)
        ]
        names = [detector.name for detector in config.detectors]
        text = ", ".join(
            f"{name} {one.centre_ps:.0f} +- {one.sigma_centre_ps:.0f} ps"
            if one.gated
            else f"{name} runs freely"
            for name, one in zip(names, found, strict=True)
        )
        changes = any(_differs(config, number, one, found) for number, one in enumerate(new))
        return StepResult(
            True,
            text,
            {
                "delay_ps": delays.tolist(),
                "clicks_per_s": counts.tolist(),
                "detectors": [
                    {"name": name, **asdict(one)} for name, one in zip(names, found, strict=True)
                ],
            },
            change={"detectors": new} if changes else {},
            draw=lambda path: _draw(path, config, delays, counts, found),
        )


def _gated(config: RelayConfig, delays: list[int], widths: list[int]) -> RelayConfig:
    detectors = tuple(
        detector.model_copy(update={"gate_delay_ps": delay, "gate_width_ps": width})
        for detector, delay, width in zip(config.detectors, delays, widths, strict=True)
    )
    return config.model_copy(update={"detectors": detectors})


def _differs(
    config: RelayConfig, number: int, change: dict[str, Any], found: list[GateResponse]
) -> bool:
    if not change:
        return False
    period = float(config.slot_period_ps)
    detector = config.detectors[number]
    away = abs(
        (change["gate_delay_ps"] - detector.gate_delay_ps + period / 2) % period - period / 2
    )
    return bool(
        away > 2.0 * found[number].sigma_centre_ps
        or change.get("gate_width_ps", detector.gate_width_ps) != detector.gate_width_ps
    )


def _draw(
    path: Path,
    config: RelayConfig,
    delays: NDArray[np.int64],
    counts: NDArray[np.float64],
    found: list[GateResponse],
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (detector, one) in enumerate(zip(config.detectors, found, strict=True)):
        colour = f"C{number}"
        axes.plot(delays, counts[number], "o-", ms=3, lw=0.8, color=colour, label=detector.name)
        axes.axvline(detector.gate_delay_ps, color=colour, ls=":", lw=0.8)
        if one.gated:
            axes.axvline(one.centre_ps, color=colour, lw=0.8)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("delay of the gate (ps)")
    axes.set_ylabel("clicks per second")
    axes.set_title("before: dotted, plateau's middle: line", fontsize="small")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
