"""The calibration step `phase-reference`: fewest errors in X, by turning a phase.

Only who knows the bits sees it: the error rate in X comes of an endpoint's /health, by blocks. The
search is that of `polarisation`. Blocks that were under way when the phase was turned hold slots of
before, so that `skip_blocks` of them are passed over after each turn: as many as are under way at
once, and one more.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bellrelay.settings.model import Model, Name, between

from .calibration_bench import Bench
from .calibration_step import StepResult
from .endpoint_health import ask_endpoint, x_error
from .lab_devices import PhaseReference
from .lab_search import Measured, align, knob_of
from .step_polarisation import search_result

__all__ = ["PhaseReferenceOptions", "PhaseReferenceStep"]

_SECONDS = between(1.0, 86400.0, "s")


class PhaseReferenceOptions(Model):
    """Options of the step."""

    device: Name = Field(description="a phase reference of `lab:`")
    endpoint: str = Field(
        pattern=r"^https?://", description="URL of an endpoint's /health, which tells errors in X"
    )
    step_rad: Annotated[float, between(0.001, 3.2, "rad")] = Field(
        default=0.5, description="first step"
    )
    rounds: Annotated[int, between(1, 10)] = Field(default=4, description="tries on both sides")
    skip_blocks: Annotated[int, between(0, 100)] = Field(
        default=2, description="blocks that end after a turn and are passed over: sent before it"
    )
    longest_s: Annotated[float, _SECONDS] = Field(
        default=600.0, description="longest wait for a block"
    )


class PhaseReferenceStep:
    """A bounded search; kept only if it is better than what was found, see :mod:`.lab_search`."""

    name = "phase-reference"
    about = "phase between the senders' references: fewest errors in X, as an endpoint tells them"
    disturbs = True
    options: type[Model] = PhaseReferenceOptions

    def run(self, bench: Bench, options: PhaseReferenceOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        device: PhaseReference = bench.lab.device(options.device, PhaseReference)

        def measure() -> Measured:
            error, sigma = x_error(
                lambda: ask_endpoint(options.endpoint),
                options.skip_blocks,
                options.longest_s,
                bench.cancelled,
            )
            bench.tell(f"errors in X {error:.4f} +- {sigma:.4f}")
            return Measured(error, sigma)

        search = align(
            knob_of(device),
            measure,
            step=[options.step_rad],
            rounds=options.rounds,
            cancelled=bench.cancelled,
        )
        return search_result(search, options.device, "errors in X")
