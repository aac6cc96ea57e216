"""Power and spectrum monitors of a relay or an endpoint: lines in, figures, ages and limits out."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.settings.monitors import MonitorsSettings

from .monitor_inputs import MonitorInputs
from .monitor_line import Cause, MonitorReading, Refused, parse_line
from .monitor_state import MonitorStates

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon
    from bellrelay.relay.board import BoardSession

__all__ = ["Monitors"]

_START_S = 30.0

_GAUGES = {
    "power_w": ("power_watts", 1.0, "optical power"),
    "temperature_c": ("temperature_celsius", 1.0, "temperature"),
    "wavelength_nm": ("wavelength_meters", 1e-9, "vacuum wavelength of the line's centre"),
    "linewidth_ghz": ("linewidth_hertz", 1e9, "full width of the line at half of its power"),
    "suppression_db": ("side_mode_suppression_decibels", 1.0, "line over strongest side mode"),
}
"""By quantity: name of the metric, its unit in ours, what it is."""


class Monitors:
    """A companion of either daemon; it has a thread with an event loop of its own.

    Parameters
    ----------
    settings
        The section ``monitors``.
    """

    name = "monitors"
    pages: Mapping[str, Callable[[], Mapping[str, Any]]] = {}

    def __init__(self, settings: MonitorsSettings) -> None:
        self._states = MonitorStates(settings.each, time.time_ns())
        self._inputs = MonitorInputs(settings, self._line, self._states.refuse)
        self._of_intensities = [n for n, m in settings.each.items() if m.kind == "intensity"]
        self._followers: dict[str, list[Callable[[MonitorReading], None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int | None:
        """Where it listens by TCP, once started."""
        return self._inputs.port

    def follow(self, monitor: str, take: Callable[[MonitorReading], None]) -> None:
        """Hand every reading of a monitor on, in this companion's thread; before the start."""
        self._followers.setdefault(monitor, []).append(take)

    def _line(self, line: bytes) -> None:
        try:
            reading = parse_line(line, time.time_ns())
            if reading is None:
                return
            self._states.take(reading)
        except Refused as refused:
            self._states.refuse(refused.cause, str(refused))
            return
        for take in self._followers.get(reading.monitor, ()):
            take(reading)

    # ---------------------------------------------------------------------------- of a relay

    def start(self, session: BoardSession | None = None) -> None:
        """Listen, and follow the files. OSError: that cannot be."""
        started: list[BaseException | None] = []
        ready = threading.Event()

        loop = self._loop = asyncio.new_event_loop()

        def run() -> None:
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(self._serve(started, ready))
            finally:
                loop.close()

        self._thread = threading.Thread(target=run, name="monitors", daemon=True)
        self._thread.start()
        if not ready.wait(_START_S):
            raise OSError("the monitors' inputs do not start")
        if started[0] is not None:
            raise started[0]

    async def _serve(self, started: list[BaseException | None], ready: threading.Event) -> None:
        inputs = self._inputs
        try:
            await inputs.start()
        except BaseException as error:
            await inputs.stop()
            started.append(error)
            ready.set()
            return
        started.append(None)
        ready.set()
        following = asyncio.ensure_future(inputs.run())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await inputs.stop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def stop(self) -> None:
        """Hang up, and end."""
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_S)
        self._thread = None

    def raw_tags(self, payload: bytes) -> None:
        """Nothing: monitors have no tags."""

    # ------------------------------------------------------------------------- of an endpoint

    async def run(self, daemon: EndpointDaemon) -> None:
        """The same beside an endpoint, until it is cancelled; intensities go to its own watch."""
        watch = daemon.admission.intensities

        def offer(reading: MonitorReading) -> None:
            if reading.intensity is not None:
                watch.offer((reading.intensity,))

        for name in self._of_intensities:
            self.follow(name, offer)
        await asyncio.to_thread(self.start)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(self.stop)

    # --------------------------------------------------------------------------------- status

    def status(self) -> Mapping[str, Any]:
        """As :meth:`.monitor_state.MonitorStates.status`; and what comes in, and what cannot."""
        return {
            **self._states.status(time.time_ns()),
            "connections": self._inputs.connections,
            "port": self._inputs.port,
            "files_not_readable": self._inputs.complaints(),
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status."""
        each = status["each"]
        for quantity, (name, unit, what) in _GAUGES.items():
            values = {m: s["quantities"].get(quantity) for m, s in each.items()}
            shown = {m: v for m, v in values.items() if v is not None}
            if shown:
                gauge = GaugeMetricFamily(f"bellrelay_monitor_{name}", what, labels=["monitor"])
                for monitor, value in shown.items():
                    gauge.add_metric([monitor], value * unit)
                yield gauge
        age = GaugeMetricFamily(
            "bellrelay_monitor_age_seconds", "since the last reading", labels=["monitor"]
        )
        stale = GaugeMetricFamily(
            "bellrelay_monitor_stale", "1 while the last reading is too old", labels=["monitor"]
        )
        readings = CounterMetricFamily(
            "bellrelay_monitor_readings", "readings taken", labels=["monitor"]
        )
        beyond = GaugeMetricFamily(
            "bellrelay_monitor_beyond_limits",
            "1 while the last reading lies outside its limits",
            labels=["monitor", "quantity"],
        )
        for monitor, state in each.items():
            age.add_metric([monitor], state["age_s"])
            stale.add_metric([monitor], float(state["stale"]))
            readings.add_metric([monitor], state["readings"])
            for quantity in state["limits"]:
                beyond.add_metric([monitor, quantity], float(quantity in state["beyond"]))
        yield from (age, stale, readings, beyond)
        refused = CounterMetricFamily(
            "bellrelay_monitor_lines_refused", "lines that were no readings", labels=["cause"]
        )
        for cause in Cause:
            # Also those that never occurred: of a series that begins at 1, no rate can tell.
            refused.add_metric([cause], status["refused"].get(cause, 0))
        yield refused
