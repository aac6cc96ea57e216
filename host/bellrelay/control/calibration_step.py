"""What a calibration step is, what it works with, and what it comes to.

A step measures on a board that acquires, and says what it would change. It writes no register that
lasts: what changes is an overlay of the relay's settings, brought into force and recorded by
:mod:`.calibration_runner`, from which it can be taken back. Devices of the laboratory it may turn,
and says what they had before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bellrelay.settings.model import Model

from .calibration_bench import Bench

__all__ = ["DeviceChange", "NoOptions", "Step", "StepFailed", "StepResult"]

_Options = TypeVar("_Options", bound=Model, contravariant=True)


class StepFailed(Exception):
    """What was to be measured could not be; the message says why, for people."""


class NoOptions(Model):
    """A step that takes none."""


@dataclass(frozen=True)
class DeviceChange:
    """Settings of a device of the laboratory, before the step and after it."""

    device: str
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class StepResult:
    """What a step came to.

    Attributes
    ----------
    ok
        Whether what was measured is as it should be, perhaps after the change.
    text
        A line for people.
    figures
        All that was measured: plain types.
    change
        Values to lay over the relay's settings, as
        :meth:`~.relay_settings.RelaySettings.change` takes them; empty: nothing.
    devices
        What was turned, and stays.
    draw
        Makes the picture, a PNG.
    """

    ok: bool
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[DeviceChange, ...] = ()
    draw: Callable[[Path], None] | None = None


class Step(Protocol, Generic[_Options]):
    """One kind of calibration."""

    @property
    def name(self) -> str:
        """For commands and YAML: lower case, with dashes."""
        ...

    @property
    def about(self) -> str:
        """A line for people."""
        ...

    @property
    def disturbs(self) -> bool:
        """Whether key generation suffers while it runs. A change of settings always does that."""
        ...

    @property
    def options(self) -> type[Model]:
        """What ``calibration.steps.NAME`` may say."""
        ...

    def run(self, bench: Bench, options: _Options) -> StepResult:
        """Measure. Blocks; asks ``bench.check_cancelled`` now and then.

        Raises
        ------
        StepFailed
            It cannot be measured.
        BenchError, LabError, ConfigError
            The board, or a device, does not do its part. A device that was turned is put back.
        InterruptedError
            It was cancelled.
        """
        ...
