"""The calibration step `polarisation`: the arms' polarisations are made alike at the relay.

Pairs of clicks in the same bin at the two ports are rarest where the pulses of both senders overlap
best, so that a relay alone can see it: nobody's bits are needed. The actuators are turned one after
the other, within the device's ranges; where three values make a parabola, its lowest point is
tried. What that comes to is measured anew beside what was there before, and kept only if it is
better by two standard errors of the difference; otherwise, and whatever breaks, the device goes
back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bellrelay.settings.model import Model, Name, between

from .calibration_bench import Bench
from .calibration_step import DeviceChange, StepFailed, StepResult
from .lab_devices import PolarisationController
from .lab_search import Measured, Search, align, knob_of
from .port_pairs import port_pairs

__all__ = ["PolarisationOptions", "PolarisationStep", "draw_search"]


class PolarisationOptions(Model):
    """Options of the step."""

    device: Name = Field(description="a polarisation controller of `lab:`")
    step: Annotated[float, between(1e-9, 1e9, "of the device's unit")] = Field(
        description="first step of each actuator"
    )
    rounds: Annotated[int, between(1, 10)] = Field(
        default=3, description="passes over all actuators"
    )
    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=2.0, description="per measurement"
    )
    window_ps: Annotated[int, between(1, 1_000_000, "ps")] | None = Field(
        default=None,
        description="how far clicks of a pair may be apart; default: the width of the early window",
    )


class PolarisationStep:
    """A bounded search; kept only if it is better than what was found, see :mod:`.lab_search`."""

    name = "polarisation"
    about = "polarisations of both arms alike: fewest pairs in the same bin at both ports"
    disturbs = True
    options: type[Model] = PolarisationOptions

    def run(self, bench: Bench, options: PolarisationOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        device: PolarisationController = bench.lab.device(options.device, PolarisationController)
        early = bench.config.windows.early
        window = options.window_ps or early[1] - early[0]

        def measure() -> Measured:
            pairs = port_pairs(bench.tags(options.seconds), bench.config, window)
            if not pairs.apart:
                raise StepFailed("no pairs of clicks at both ports: no light, or too short")
            bench.tell(f"pairs in the same bin {pairs.ratio:.3f} +- {pairs.sigma_ratio:.3f}")
            return Measured(pairs.ratio, pairs.sigma_ratio)

        search = align(
            knob_of(device),
            measure,
            step=[options.step] * len(device.ranges),
            rounds=options.rounds,
            cancelled=bench.cancelled,
        )
        return search_result(search, options.device, "pairs in the same bin")


def search_result(search: Search, device: str, what: str) -> StepResult:
    """Of a search that ended: it is always in order, for it leaves nothing worse."""
    before, after = search.before, search.after
    text = f"{what} {before.value:.4f} +- {before.sigma:.4f}"
    if search.kept:
        text += f", turned to {after.value:.4f} +- {after.sigma:.4f}"
    else:
        text += f", nothing better found ({after.value:.4f} +- {after.sigma:.4f}): left as it was"
    changes = (DeviceChange(device, search.found, search.left),) if search.kept else ()
    return StepResult(
        True,
        text,
        search.as_json(),
        devices=changes,
        draw=lambda path: draw_search(path, search, what),
    )


def draw_search(path: Path, search: Search, what: str) -> None:
    """All that was measured, in order, and what was there before and after, to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    values = [m for _, m in search.trace]
    axes.errorbar(
        range(len(values)), [m.value for m in values], [m.sigma for m in values], fmt="o-", ms=4
    )
    axes.axhline(search.before.value, ls=":", color="C3", label="before")
    axes.axhline(search.after.value, ls="--", color="C2", label="best, measured anew")
    axes.set_xlabel("measurement")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
