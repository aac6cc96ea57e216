"""The frequency of a sender's laser, as the laboratory or a monitor has it: companion `lab`."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.endpoint.config import EndpointConfig

from .lab import Lab
from .lab_devices import Laser

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["LaserWatch"]

_EVERY_S = 2.0
_KEPT = 12
_LEAST_GHZ = 0.01
_log = structlog.get_logger(__name__)


class LaserWatch:
    """Of one endpoint.

    Parameters
    ----------
    config
        With ``watch.laser``.

    Raises
    ------
    ConfigError
        The laboratory has no laser of that name.
    """

    name = "lab"

    def __init__(self, config: EndpointConfig) -> None:
        assert config.watch is not None
        assert config.watch.laser is not None
        device = config.watch.laser.device
        self._laser: Laser | None = (
            None if device is None else Lab(config, config.lab).device(device, Laser)
        )
        self._ghz = config.watch.laser.ghz
        self._offsets: deque[float] = deque(maxlen=_KEPT)
        self._measured = 0
        self._lock = threading.Lock()
        self._why = ""

    async def run(self, daemon: EndpointDaemon) -> None:
        """Read, until it is cancelled. A reading that fails is told, and ends nothing.

        Where a monitor measures, whoever has its readings calls :meth:`take`.
        """
        if self._laser is None:
            await asyncio.Event().wait()
            return
        while True:
            try:
                self.take(await asyncio.to_thread(self._laser.frequency_hz))
                self._why = ""
            except OSError as error:
                if str(error) != self._why:
                    _log.error("laser not readable", why=str(error))
                self._why = str(error)
            await asyncio.sleep(_EVERY_S)

    def take(self, frequency_hz: float) -> None:
        """A reading; any thread."""
        with self._lock:
            self._offsets.append(frequency_hz * 1e-9 - self._ghz)
            self._measured += 1

    def status(self) -> Mapping[str, Any]:
        """Plain types. laser_ghz: against where it belongs, with the error of one reading."""
        with self._lock:
            measured, offsets = self._measured, list(self._offsets)
        told: dict[str, Any] = {"measured": measured, "laser_ghz": None, "why": self._why}
        if len(offsets) > 2:
            # Of neighbours: a drift must not pass for noise.
            noise = float(np.std(np.diff(np.array(offsets)))) / 2.0**0.5
            told["laser_ghz"] = {"value": offsets[-1], "sigma": max(noise, _LEAST_GHZ)}
        return told

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status."""
        if status["laser_ghz"] is not None:
            yield GaugeMetricFamily(
                "bellrelay_endpoint_laser_offset_ghz",
                "optical frequency against where it belongs",
                value=status["laser_ghz"]["value"],
            )
