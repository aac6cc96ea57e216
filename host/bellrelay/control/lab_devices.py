"""What calibration may ask of devices of the laboratory, and how they say no.

A device is of a kind if it has that protocol's methods; it may be of several. Values are in the
protocol's units, whatever the device itself counts in. A setting is in force when its method
returns: a device that moves is waited for. Nothing is remembered for it: what it says it has, it
was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = [
    "KINDS",
    "Attenuator",
    "DelayLine",
    "DeviceRefused",
    "DeviceSilent",
    "LabError",
    "Laser",
    "PhaseReference",
    "PolarisationController",
    "PowerMeter",
    "Shutter",
]


class LabError(OSError):
    """A device did not do what it was asked for; what it has now is not known."""

    def __str__(self) -> str:
        return str(self.args[-1])


class DeviceSilent(LabError):
    """It cannot be reached, or did not answer in time."""


class DeviceRefused(LabError):
    """It answered that it will not, or that it has something else than it was told."""


@runtime_checkable
class Attenuator(Protocol):
    """A variable optical attenuator."""

    @property
    def range_db(self) -> tuple[float, float]:
        """Least and most, of what it can be set to; nothing is asked for this."""
        ...

    def attenuation_db(self) -> float:
        """What it has now. LabError."""
        ...

    def set_attenuation_db(self, attenuation_db: float) -> None:
        """ValueError outside of its range; LabError."""
        ...


@runtime_checkable
class DelayLine(Protocol):
    """A variable delay in one arm; a larger one sends that arm's pulses later."""

    @property
    def range_ps(self) -> tuple[float, float]: ...

    def delay_ps(self) -> float:
        """LabError."""
        ...

    def set_delay_ps(self, delay_ps: float) -> None:
        """ValueError outside of its range; LabError."""
        ...


@runtime_checkable
class PolarisationController(Protocol):
    """Some voltages or angles that turn the polarisation; nobody need know which does what."""

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Least and most by actuator, in the device's own unit."""
        ...

    def settings(self) -> tuple[float, ...]:
        """By actuator. LabError."""
        ...

    def set_settings(self, settings: Sequence[float]) -> None:
        """All of them. ValueError outside of their ranges; LabError."""
        ...


@runtime_checkable
class PhaseReference(Protocol):
    """The phase of an interferometer, or between two lasers' references."""

    @property
    def range_rad(self) -> tuple[float, float]: ...

    def phase_rad(self) -> float:
        """LabError."""
        ...

    def set_phase_rad(self, phase_rad: float) -> None:
        """ValueError outside of its range; LabError."""
        ...


@runtime_checkable
class Laser(Protocol):
    """A laser that can be switched, and knows its frequency."""

    def is_on(self) -> bool:
        """LabError."""
        ...

    def switch_on(self) -> None:
        """LabError."""
        ...

    def switch_off(self) -> None:
        """LabError."""
        ...

    def frequency_hz(self) -> float:
        """LabError, also where it has no readout."""
        ...


@runtime_checkable
class Shutter(Protocol):
    """Light, or none."""

    def is_open(self) -> bool:
        """LabError."""
        ...

    def open_shutter(self) -> None:
        """LabError."""
        ...

    def close_shutter(self) -> None:
        """LabError."""
        ...


@runtime_checkable
class PowerMeter(Protocol):
    """Mean optical power."""

    def power_w(self) -> float:
        """LabError."""
        ...


KINDS: dict[str, type] = {
    "attenuator": Attenuator,
    "delay-line": DelayLine,
    "polarisation-controller": PolarisationController,
    "phase-reference": PhaseReference,
    "laser": Laser,
    "shutter": Shutter,
    "powermeter": PowerMeter,
}
"""By the names that people write."""
