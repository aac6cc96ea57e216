"""The companion `tracking` of an endpoint: finds its sender's light in the slot, and holds it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.endpoint.config import EndpointConfig, TrackingSettings
from bellrelay.endpoint.sender_plugin import SenderCannot
from bellrelay.endpoint.source_plugin import OpenSource, load_source
from bellrelay.endpoint.tracking_source import TrackingSource
from bellrelay.wire.messages import Event
from bellrelay.wire.tracking import TrackingClicks

from .lock import LockState
from .sender_positions import SenderPositions
from .source_tracking import SourceTracking

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["EndpointTracking"]

_KINDS = ("heartbeat", "calibration", "slot-clock", TrackingClicks.KIND)
_WAITING = 256
"""Events that wait at most; a worker that is behind by more passes over the oldest."""
_SILENT_S = 10.0
"""Without an event of the relay's for so long nobody knows where the light is: they come every
second."""
_log = structlog.get_logger(__name__)


class EndpointTracking:
    """One endpoint's sender.

    Parameters
    ----------
    config
        Of the endpoint, with sections `tracking` and `tracking_slots`.
    """

    name = "tracking"

    def __init__(self, config: EndpointConfig) -> None:
        assert config.tracking is not None
        self._config = config
        self._settings: TrackingSettings = config.tracking
        self._schedule = config.tracking_slots.schedule()
        self._waiting: deque[tuple[str, Event]] = deque(maxlen=_WAITING)
        self._came = asyncio.Event()
        self._overrun = 0
        self._relays: dict[str, SourceTracking] = {}
        self._active = config.relay.id
        self._cannot = "" if self._settings.steer else "the configuration says: do not steer"
        self._failed = ""
        self._failures = 0
        self._alarm: str | None = None
        self._decided: float | None = None
        self._heard = time.monotonic()

    # ------------------------------------------------------------------------------- rounds

    async def run(self, daemon: EndpointDaemon) -> None:
        """Take events as they come, until it is cancelled. What fails is told, and ends nothing."""
        self._daemon = daemon
        self._positions = await asyncio.to_thread(
            SenderPositions, self._config.store.directory / "sender_delay.json"
        )
        daemon.relays.take_events(self._take)
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                events = list(self._waiting)
                self._waiting.clear()
                await asyncio.to_thread(self._work, events)
        finally:
            for tracking in self._relays.values():
                tracking.source.close()

    def _take(self, relay_id: str, event: Event) -> None:
        """In the daemon's loop, in the middle of its announcements: only put it down."""
        if event.kind not in _KINDS:
            return
        if relay_id == self._active:
            self._heard = time.monotonic()
        if len(self._waiting) == _WAITING:
            self._overrun += 1
        self._waiting.append((relay_id, event))
        self._came.set()

    def _work(self, events: list[tuple[str, Event]]) -> None:
        self._go_to(self._daemon.relays.active)
        for relay_id, event in events:
            if relay_id != self._active and event.kind != "slot-clock":
                # No light of ours is there; whether its clock holds must be known once there is.
                continue
            try:
                self._tracking(relay_id).take(event)
            except OSError as error:
                self._fails(f"source not readable: {error.strerror or error}")
        tracking = self._relays.get(self._active)
        if tracking is not None:
            self._steer(tracking)
            self._tell(tracking)

    def _go_to(self, relay_id: str) -> None:
        """Light may be directed to another relay: there the sender has another delay."""
        if relay_id == self._active:
            return
        self._active, self._decided = relay_id, None
        tracking = self._relays.get(relay_id)
        if tracking is not None:
            # Fibres have drifted meanwhile, and nobody has looked.
            tracking.restart()
            if not self._cannot:
                self._order(tracking, tracking.servo.delay_ps)

    def _tracking(self, relay_id: str) -> SourceTracking:
        if relay_id not in self._relays:
            store = self._daemon.store

            def hold(acquisition: int) -> bool:
                return store.hold_schedule(relay_id, acquisition, self._schedule)

            source = TrackingSource(self._schedule, self._opener(relay_id), hold)
            position = self._positions.at(relay_id)
            self._relays[relay_id] = SourceTracking(self._settings, source, position)
            if not self._cannot and relay_id == self._active:
                # A sender that was switched off has forgotten where it stood.
                self._order(self._relays[relay_id], position.delay_ps)
        return self._relays[relay_id]

    def _opener(self, relay_id: str) -> OpenSource:
        config = self._config
        for number, relay in enumerate(config.secondaries):
            if relay.id == relay_id:
                return load_source(config, relay.source, f"secondaries.{number}.source")
        return load_source(config)

    def _steer(self, tracking: SourceTracking) -> None:
        now = time.monotonic()
        passed = 0.0 if self._decided is None else now - self._decided
        self._decided = now
        if self._cannot:
            return
        before = tracking.servo.delay_ps
        wanted = tracking.decide(passed)
        if wanted is not None and not self._order(tracking, wanted):
            tracking.stayed(before)

    def _order(self, tracking: SourceTracking, delay_ps: float) -> bool:
        try:
            # Before the sender moves: a process that dies in between knows where it may stand.
            self._positions.put(self._active, tracking.position)
            self._daemon.sender.set_delay_ps(delay_ps)
        except SenderCannot as error:
            self._cannot = f"the sender cannot: {error}"
            _log.warning("sender not steered", why=self._cannot)
            return False
        except OSError as error:
            self._fails(f"sender not moved: {error.strerror or error}")
            return False
        self._failed = ""
        return True

    def _fails(self, why: str) -> None:
        self._failures += 1
        if why != self._failed:
            _log.error("tracking", why=why)
        self._failed = why

    def _tell(self, tracking: SourceTracking) -> None:
        alarm = self._failed or None
        if not self._cannot:
            alarm = tracking.servo.lock.alarm or alarm
            if tracking.servo.limited:
                alarm = (
                    f"the sender's delay is at the end of its range, {self._settings.range_ps} ps"
                )
        if alarm != self._alarm:
            self._alarm = alarm
            if alarm is None:
                _log.info("tracking as it should be", state=str(tracking.servo.lock.state))
            else:
                _log.error("tracking", alarm=alarm)

    # ------------------------------------------------------------------------------- orders

    async def resynchronise(self, reason: str) -> str:
        """Begin anew: forget what was measured, and take the delay as it stands for the truth.

        LookupError: there is nothing to begin anew.
        """
        tracking = self._relays.get(self._active)
        if tracking is None:
            raise LookupError("no event of the relay's has come yet")
        tracking.restart()
        _log.warning("tracking begins anew", why=reason)
        return f"delay held at {tracking.servo.delay_ps:.0f} ps, offset and rate measured anew"

    # ------------------------------------------------------------------------------- status

    def status(self) -> dict[str, Any]:
        """Plain types, nothing secret."""
        schedule = self._schedule
        told: dict[str, Any] = {
            "relay_id": self._active,
            "slots": {"every": schedule.every, "length": schedule.length},
            "measured": 0,
            "state": "waiting",
            "steering": not self._cannot,
            "not_steering": self._cannot or None,
            "locked": None,
            "alarm": self._alarm,
            "failures": self._failures,
            "overrun": self._overrun,
        }
        tracking = self._relays.get(self._active)
        if tracking is None:
            return told
        told.update(tracking.status())
        if self._cannot:
            told["state"] = "observing"
        else:
            told["locked"] = tracking.servo.lock.state is LockState.LOCKED
        if time.monotonic() - self._heard > _SILENT_S:
            # The relay's time stands still for us, and the loop with it.
            told.update(state="silent", locked=None if self._cannot else False)
        return told

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status."""
        prefix = "bellrelay_endpoint_tracking"
        for name, text, key in (
            ("light_clicks_per_slot", "clicks of our light per tracking slot", "light"),
            ("delay_ps", "how late our pulses lie in the slot", "delay_ps"),
            ("apart_ps", "how much later than the other sender's", "apart_ps"),
            ("offset_ps", "what the loop takes us to be off by", "offset_ps"),
            ("rate_ps_per_s", "how fast that grows by itself", "rate_ps_per_s"),
        ):
            pair = status.get(key)
            if pair is not None:
                yield GaugeMetricFamily(f"{prefix}_{name}", text, value=pair["value"])
                yield GaugeMetricFamily(
                    f"{prefix}_{name}_sigma", f"standard error: {text}", value=pair["sigma"]
                )
        state = GaugeMetricFamily(f"{prefix}_state", "1 for the state it is in", labels=["state"])
        for each in ("waiting", "observing", "silent", *LockState):
            state.add_metric([str(each)], float(status["state"] == each))
        yield state
        for name, text, value in (
            ("commanded_ps", "delay that the sender was told", status.get("commanded_ps", 0.0)),
            ("limited", "1 at the end of the delay's range", float(status.get("limited", False))),
            ("alarm", "1 while somebody should look", float(status["alarm"] is not None)),
        ):
            yield GaugeMetricFamily(f"{prefix}_{name}", text, value=value)
        counts = {**status.get("counts", {}), "overrun": status["overrun"]}
        events = CounterMetricFamily(
            f"{prefix}_events", "what became of events and clicks", labels=["fate"]
        )
        for fate, number in counts.items():
            events.add_metric([fate], number)
        yield events
        yield CounterMetricFamily(
            f"{prefix}_measurements", "windows evaluated", value=status["measured"]
        )
