"""The relay's tracking, a companion of its daemon: the slot clock kept on the pulses.

A thread looks at what the board has told, decides, and writes the register ``trim``, the only one
of the slot clock that may change while the board acquires. A board that is reset, or an acquisition
that begins anew, is tracked from the beginning, with the trim that was good before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.relay.board import BoardSession, Phase
from bellrelay.relay.config import RelayConfig
from bellrelay.relay.histogram_periods import HistogramPeriod
from bellrelay.relay.register_values import slot_rate
from bellrelay.relay.tracking_settings import TrackingSettings
from bellrelay.wire.access import AccessError
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Heartbeat
from bellrelay.wire.registers import State

from .drift_filter import DriftNoise
from .light_phase import LightPhase
from .light_pull_in import LightPullIn
from .reference_status import ReferenceStatus, read_reference
from .relay_tracker import RelayTracker
from .slot_servo import PPM_PS_PER_S
from .tag_positions import TagPositions
from .tracking_publisher import TrackingPublisher

__all__ = ["RelayTracking"]

_LOOK_S = 0.01
_DECIDE_S = 0.2
_PULL_IN_S = 0.05
"""Board seconds from one decision to the next, locked and not."""
_REFERENCE_S = 1.0
_SEARCHED_SIGMAS = 4.0
"""Of what clocks differ by at the start: rates up to this are looked for in bare tags."""
_AGAIN_S = 1.0
"""From a fault of the program to the next attempt."""
_PUBLISHED = {
    "clicks": "published",
    "clicks_late": "late",
    "ranges": "ranges",
    "ranges_dropped": "ranges_dropped",
    "tags_dropped": "dropped",
}
"""What the status tells of a publisher, and where it has it."""
_log = structlog.get_logger(__name__)


class RelayTracking:
    """See :class:`bellrelay.relay.companion.Companion`.

    Parameters
    ----------
    config
        Of the relay, with ``tracking``; where the pulses belong is taken from it and stays, also
        where somebody moves the windows.
    """

    name = "tracking"
    pages: Mapping[str, Callable[[], Mapping[str, Any]]] = {}

    def __init__(self, config: RelayConfig) -> None:
        assert config.tracking is not None
        self._config = config
        self._settings: TrackingSettings = config.tracking
        self._stop = threading.Event()
        self._anew = threading.Event()
        self._held = threading.Event()
        self._thread: threading.Thread | None = None
        self._session: BoardSession | None = None
        self._lock = threading.Lock()
        self._acquisition: int | None = None
        self._tracker: RelayTracker | None = None
        self._publisher: TrackingPublisher | None = None
        self._light: LightPullIn | None = None
        self._beat: Heartbeat | None = None
        self._period: HistogramPeriod | None = None
        self._decided_s = 0.0
        self._written = 0
        self._good_trim = 0
        self._state = ""
        self._reference: ReferenceStatus | None = None
        self._reference_at = 0.0
        self._failed = ""
        self._broken = ""
        self._published = dict.fromkeys(_PUBLISHED, 0)

    # ------------------------------------------------------------------------ companion

    def start(self, session: BoardSession) -> None:
        """Track this board."""
        self._session = session
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; the board keeps its trim."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def raw_tags(self, payload: bytes) -> None:
        """For the clicks in tracking slots, and to be pulled in by."""
        publisher, light = self._publisher, self._light
        if publisher is not None:
            publisher.raw_tags(payload)
        if light is not None:
            light.raw_tags(payload)

    def hold(self, held: bool) -> None:
        """Whether pulses are moved on purpose now, and say nothing of the clock; any thread."""
        if held:
            self._held.set()
        else:
            self._held.clear()

    def resynchronise(self) -> None:
        """Forget where the pulses were, and find them anew; any thread."""
        self._anew.set()

    # ------------------------------------------------------------------------ the loop

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
                self._failed = ""
            except (AccessError, OSError) as error:
                # The board is away, or busy with another command: the next look tries again.
                self._failed = str(error)
            except Exception as error:
                # A fault of ours ends no relay: it is told, and the loop begins anew.
                _log.exception("tracking failed, begun anew")
                self._broken = f"tracking failed: {error!r}"
                self._anew.set()
                if self._publisher is not None:
                    self._publisher.lose()
                self._stop.wait(_AGAIN_S)

    def _look(self) -> None:
        session = self._session
        assert session is not None
        account, identity = session.account, session.identity
        if session.phase is not Phase.RUNNING or account is None or identity is None:
            return
        self._read_reference()
        if account.acquisition != self._acquisition or self._anew.is_set():
            self._begin(account.acquisition, identity.geometry)
        tracker = self._tracker
        assert tracker is not None
        beat = session.heartbeat
        # An idle board still tells the time of the acquisition before.
        if beat is not None and beat is not self._beat and beat.state is State.RUNNING:
            self._beat = beat
            self._told(beat, session, tracker)
        period = None if session.periods is None else session.periods.last
        if period is not None and period is not self._period:
            self._period = period
            if not self._held.is_set():
                with self._lock:
                    tracker.histogram(period)
            if self._publisher is not None:
                self._publisher.histogram(period)
        pause = _DECIDE_S if tracker.locked else _PULL_IN_S
        if tracker.now_s - self._decided_s >= pause:
            self._decided_s = tracker.now_s
            self._decide(tracker)
        self._tell(tracker)

    def _begin(self, acquisition: int, geometry: BoardGeometry) -> None:
        again = acquisition == self._acquisition
        self._anew.clear()
        config = self._config
        period, rate = slot_rate(config.slot_period_ps, geometry.clock_period_ps)
        if not again:
            # The board begins with a trim of 0; its oscillator is the one that it was.
            self._written = 0
            self._beat = None
            self._publisher = self._new_publisher(geometry, period, rate)
        # What counts whole slots must have been there from the first one on.
        self._light = None if again else self._new_light(geometry, period, rate)
        trim = self._written if again else self._good_trim
        self._tracker = RelayTracker(
            self._settings,
            clock_period_ps=geometry.clock_period_ps,
            tick_ps=geometry.tick_ps,
            period_ps=period,
            bin_ps=config.histogram.bin_ps,
            detectors=geometry.n_detectors,
            centres_ps=config.pulse_centres_ps,
            trim=trim,
            light=self._light,
        )
        if self._reference is not None:
            self._tracker.reference_locked = self._reference.locked
        self._acquisition = acquisition
        self._decided_s = self._tracker.now_s
        self._state = ""
        self._write(trim)

    def _new_publisher(
        self, geometry: BoardGeometry, period: int, rate: int
    ) -> TrackingPublisher | None:
        slots = self._settings.slots
        if slots is None or not slots.length:
            return None
        return TrackingPublisher(
            slots.schedule(),
            TagPositions(period, self._config.phase_ps, rate, geometry.clock_period_ps),
            [d.deskew_ps for d in self._config.detectors],
            period,
            geometry.tick_ps,
            self._config.histogram.bin_ps,
            self._config.sync.deskew_ps,
        )

    def _new_light(self, geometry: BoardGeometry, period: int, rate: int) -> LightPullIn | None:
        config, settings = self._config, self._settings
        if settings.sync is not None or not config.raw_tags.stream:
            return None
        ppm = min(_SEARCHED_SIGMAS * settings.clock_ppm, settings.limit_ppm)
        light = LightPhase(
            period_ps=period,
            bin_ps=config.histogram.bin_ps,
            centres_ps=config.pulse_centres_ps,
            width_ps=settings.width_ps,
            limit_ps_per_s=ppm * PPM_PS_PER_S,
            noise=DriftNoise(settings.wander_ps, 1.0),
        )
        return LightPullIn(
            light,
            TagPositions(period, config.phase_ps, rate, geometry.clock_period_ps),
            [d.deskew_ps for d in config.detectors],
            period,
        )

    def _told(self, beat: Heartbeat, session: BoardSession, tracker: RelayTracker) -> None:
        with self._lock:
            if self._held.is_set():
                # Where the pulses lie now says nothing of the clocks.
                tracker.leave_light()
            tracker.heartbeat(beat)
            if not tracker.pulling_in:
                self._light = None
            if tracker.settled:
                self._written = tracker.servo.trim
        publisher = self._publisher
        if publisher is not None:
            publisher.heartbeat(beat, session.decoder.counts.missing, session.publish)
            self._published = {k: getattr(publisher, name) for k, name in _PUBLISHED.items()}

    def _decide(self, tracker: RelayTracker) -> None:
        with self._lock:
            trim = tracker.decide()
        if trim is None:
            return
        self._write(trim)
        if tracker.locked:
            self._good_trim = trim

    def _write(self, trim: int) -> None:
        session, tracker, acquisition = self._session, self._tracker, self._acquisition
        assert session is not None
        assert tracker is not None
        assert acquisition is not None
        if trim == self._written:
            return
        try:
            session.write_live(acquisition, "trim", trim)
        except BaseException:
            with self._lock:
                tracker.not_written(self._written)
            raise
        self._written = trim

    def _read_reference(self) -> None:
        settings = self._settings.reference
        now = time.monotonic()
        if settings is None or now - self._reference_at < _REFERENCE_S:
            return
        self._reference_at = now
        before = self._reference
        self._reference = read_reference(settings.file, settings.stale_s)
        if self._tracker is not None:
            self._tracker.reference_locked = self._reference.locked
        if before is None or before.state is not self._reference.state:
            say = _log.info if self._reference.locked else _log.warning
            say("reference clock", state=str(self._reference.state), why=self._reference.why)

    def _tell(self, tracker: RelayTracker) -> None:
        lock = tracker.servo.lock
        state = str(lock.state)
        if state == self._state:
            return
        say = _log.info if state == "locked" or lock.alarm is None else _log.warning
        say(
            "slot clock", state=state, alarm=lock.alarm, rate_ppm=tracker.servo.rate_ps_per_s * 1e-6
        )
        session = self._session
        if session is not None:
            # For whoever comes later than the event.
            session.beside_heartbeats = {"slot_clock": state}
            # The first, too: until it is locked endpoints must not take its slots for right.
            before = self._state or "waiting"
            session.publish({"kind": "slot-clock", "state": state, "before": before})
        self._state = state
        if state == "locked":
            self._broken = ""

    # ------------------------------------------------------------------------ status

    def status(self) -> Mapping[str, Any]:
        """As :meth:`.relay_tracker.RelayTracker.status`, and what is published."""
        tracker = self._tracker
        broken = self._broken or None
        published = dict(self._published)
        if tracker is None:
            waiting = {"state": "waiting", "measured": 0, "published": published}
            return {**waiting, "alarm": broken, "locked": False}
        with self._lock:
            status = tracker.status()
        session = self._session
        account = None if session is None else session.account
        running = session is not None and session.phase is Phase.RUNNING
        if not running or account is None or account.acquisition != self._acquisition:
            # What was known of a board that is away is no news of it.
            status.update(state="waiting", locked=False)
        if broken is not None:
            status["alarm"] = broken
        reference = self._reference
        return {
            **status,
            "reference": None
            if reference is None
            else {
                "state": str(reference.state),
                "offset_ps": reference.offset_ps,
                "age_s": reference.age_s,
                "why": reference.why,
            },
            "not_written": self._failed,
            "published": published,
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Jitter, phase, rate, lock, and what was published."""
        second = 1e-12
        locked = float(status.get("locked", False))
        values: dict[str, tuple[str, float | None]] = {
            "sync_jitter_seconds": ("of synchronisation, RMS", status.get("jitter_ps")),
            "slot_phase_seconds": ("how late the pulses lie", status.get("phase_ps")),
        }
        for name, (text, value) in values.items():
            if value is not None:
                yield GaugeMetricFamily(f"bellrelay_relay_{name}", text, value=value * second)
        plain: dict[str, tuple[str, float | None]] = {
            "clock_rate_ppm": ("of the pulses against the untrimmed clock", status.get("rate_ppm")),
            "slot_clock_locked": ("1 while the slot clock is locked", locked),
            "slot_clock_holdover": ("1 in holdover", float(status.get("holdover", False))),
        }
        for name, (text, value) in plain.items():
            if value is not None:
                yield GaugeMetricFamily(f"bellrelay_relay_{name}", text, value=value)
        yield CounterMetricFamily(
            "bellrelay_relay_slot_clock_losses", "of lock", value=status.get("losses", 0)
        )
        published = CounterMetricFamily(
            "bellrelay_relay_tracking", "clicks and ranges in tracking slots", labels=["what"]
        )
        for what, number in status["published"].items():
            published.add_metric([what], number)
        yield published
