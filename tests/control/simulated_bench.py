"""A bench for calibration steps whose tags come of a simulated link, without board or twin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bellrelay.control.calibration_bench import TagRecording
from bellrelay.control.lab_devices import DeviceSilent
from bellrelay.relay.config import RelayConfig, check_config
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.link_config import link_and_geometry


def bright_link(**changes: Any) -> SimulatedLink:
    """Two senders of the same constant light in X, two detectors, nothing dark."""
    constant = {"settings": [{"name": "x", "intensity": 0.4, "probability": 1, "z_probability": 0}]}
    link, _ = link_and_geometry(
        {
            "alice": constant,
            "bob": constant,
            "arm_a": {"eta": 0.1},
            "arm_b": {"eta": 0.1},
            "detectors": 2,
            "mode_overlap": 1.0,
        }
    )
    return dataclasses.replace(link, **changes)


def relay_config(**changes: Any) -> RelayConfig:
    return check_config(
        {
            "relay_id": "charlie",
            "port": "nowhere",
            "slot_period_ps": 10_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            # What the simulation's cables are.
            "detectors": [
                {"name": "D0", "port": "c", "deskew_ps": 820},
                {"name": "D1", "port": "d", "deskew_ps": 2190},
            ],
            "log": {"directory": "log"},
            **changes,
        }
    )


class ArmDelay:
    """A delay line in Alice's arm. ``breaks_at``: it falls silent when it is told this often."""

    range_ps = (-5000.0, 5000.0)

    def __init__(self, at_ps: float = 0.0) -> None:
        self.at_ps = at_ps
        self.told: list[float] = []
        self.breaks_at = math.inf
        self.stuck = False

    def delay_ps(self) -> float:
        return self.at_ps

    def set_delay_ps(self, delay_ps: float) -> None:
        self.told.append(delay_ps)
        if len(self.told) == self.breaks_at or (self.stuck and len(self.told) > self.breaks_at):
            raise DeviceSilent(5, "lab.delay-a: no answer")
        self.at_ps = delay_ps


class Polarisation:
    """Turned away from ``aligned`` by d in all, the modes overlap by cos^2 d."""

    def __init__(self, aligned: Sequence[float], at: Sequence[float]) -> None:
        self.aligned = tuple(aligned)
        self.at = tuple(at)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-2.0, 2.0),) * len(self.aligned)

    def settings(self) -> tuple[float, ...]:
        return self.at

    def set_settings(self, settings: Sequence[float]) -> None:
        self.at = tuple(settings)

    @property
    def overlap(self) -> float:
        return math.cos(min(math.dist(self.at, self.aligned), math.pi / 2)) ** 2


class Devices:
    """In place of a Lab."""

    def __init__(self, **devices: Any) -> None:
        self._devices = {name.replace("_", "-"): device for name, device in devices.items()}

    def device(self, name: str, kind: type) -> Any:
        assert isinstance(self._devices[name], kind)
        return self._devices[name]

    any_device = lambda self, name: self._devices[name]  # noqa: E731


class SimulatedBench:
    """Each recording is of another piece of the link, as its devices stand then."""

    def __init__(self, link: SimulatedLink, devices: Devices, config: RelayConfig) -> None:
        self.link = link
        self.lab = devices
        self.config = config
        self.told: list[str] = []
        self.cancelled: Callable[[], bool] = lambda: False
        self._seed = link.seed

    def tell(self, line: str) -> None:
        self.told.append(line)

    def check_cancelled(self) -> None:
        if self.cancelled():
            raise InterruptedError("cancelled")

    def tags(self, seconds: float) -> TagRecording:
        slots = round(seconds * 1e12 / self.link.slot_period_ps)
        self._seed += 1
        link = dataclasses.replace(self.link, seed=self._seed)
        for device in self.lab._devices.values():
            if isinstance(device, ArmDelay):
                later = self.link.arm_a.delay_ps + device.at_ps
                link = dataclasses.replace(
                    link, arm_a=dataclasses.replace(link.arm_a, delay_ps=later)
                )
            elif isinstance(device, Polarisation):
                link = dataclasses.replace(link, mode_overlap=device.overlap)
        clicks = ClickStream(link, slots).advance(slots)
        t, channel = clicks.t, clicks.channel
        times = {int(c): t[channel == c] for c in np.unique(channel)}
        return TagRecording(times, 0, slots * link.slot_period_ps, 0)
