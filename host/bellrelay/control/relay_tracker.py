"""One acquisition's slot clock, tracked: what the board tells in, trims out. Without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from bellrelay.relay.histogram_periods import HistogramPeriod
from bellrelay.relay.tracking_settings import TrackingSettings
from bellrelay.wire.payloads import Heartbeat

from .drift_filter import DriftNoise
from .light_pull_in import LightPullIn, LightReading
from .lock import LockLimits, LockState
from .pulse_monitor import measure_pulses
from .pulse_positions import TooFewCounts
from .slot_servo import PPM_PS_PER_S, SlotServo, SlotServoSettings
from .sync_jitter import Jitter, jitter_from_tags, jitter_from_width
from .sync_phase import SyncPhase, SyncReading

__all__ = ["RelayTracker"]

_SYNC_JITTER_PS = 20.0
"""Of a sync tag, until it is measured."""
_TAGS = 256
_FEWEST_TAGS = 16
_FLOOR_PS = 0.5
"""What a histogram's positions are off by besides chance: bins, fine codes."""
_RIGHT_SLOT = 0.2
"""Of a slot: what the light may be off by at most before histograms, which repeat every half slot,
are believed."""
_MISSING = "; pulses of clocks that differ by ppm take sync or raw_tags.stream"
_AHEAD_S = 0.25
"""A period ends at most so long after the last heartbeat: they come ten times a second or oftener.
"""


class RelayTracker:
    """Of one acquisition.

    Parameters
    ----------
    settings
        Of the tracking.
    clock_period_ps, tick_ps
        Of the board.
    period_ps
        The slot as the board counts it.
    bin_ps
        Of the histogram.
    detectors
        Channels of light; the others' histograms are not looked at.
    centres_ps
        Where the pulses belong.
    trim
        That the board has.
    light
        What pulls in clocks that differ where there is no sync channel; none: nothing does.

    Attributes
    ----------
    servo : SlotServo
    measured : int
        Periods and sync readings that were evaluated.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        *,
        clock_period_ps: int,
        tick_ps: int,
        period_ps: int,
        bin_ps: int,
        detectors: int,
        centres_ps: Sequence[int],
        trim: int = 0,
        light: LightPullIn | None = None,
    ) -> None:
        self._settings = settings
        self._tick_s = tick_ps * 1e-12
        self._period_ps = period_ps
        self._bin_ps = bin_ps
        self._detectors = detectors
        self._centres_ps = tuple(centres_ps)
        self.servo = SlotServo(
            SlotServoSettings(
                limit_ppm=settings.limit_ppm,
                settle_s=settings.settle_s,
                clock_ppm=settings.clock_ppm,
                noise=DriftNoise(settings.wander_ps, 1.0),
                lock=LockLimits(
                    within_ps=settings.within_ps,
                    patience_s=settings.patience_s,
                    holdover_ps=settings.holdover_ps,
                ),
            ),
            clock_period_ps,
            trim,
        )
        sync = settings.sync
        self._sync = (
            None if sync is None else SyncPhase(sync.slots_per_tag, sync.position_ps, period_ps)
        )
        self._tags: deque[float] = deque(maxlen=_TAGS)
        # What besides histograms would show pulses that are a blur in them.
        self._missing = _MISSING if sync is None and light is None else ""
        self._light = None if sync is not None else light
        self._pulled_in = sync is None and light is None
        self._pulled_in_s = 0.0
        self._pending: int | None = None
        self._beat_s = 0.0
        self._width: tuple[float, float] | None = None
        self._background: float | None = None
        self._dark = ""
        self._early: HistogramPeriod | None = None
        self.measured = 0
        self.reference_locked: bool | None = None

    @property
    def now_s(self) -> float:
        """Seconds of the board's clock, as far as it has told."""
        return self.servo.now_s

    def heartbeat(self, beat: Heartbeat) -> None:
        """Time has passed; a trim may have taken effect, and a sync tag have come."""
        before, self._beat_s = self._beat_s, beat.fields["cut_ps"] * 1e-12
        self.servo.pass_time(self._beat_s)
        if self._pending is not None and beat.fields["trim"] == self._pending:
            self._pending = None
            self.servo.took_effect(before, self._beat_s)
        elif self._pending is None and beat.fields["trim"] != self.servo.trim:
            # A write whose answer was lost has come through, or one that was answered has not yet.
            self.servo.undo(beat.fields["trim"])
        early, self._early = self._early, None
        if early is not None:
            self.histogram(early)
        if self._light is not None:
            self._pull_in(self._light, beat)
        reading = None if self._sync is None else self._sync.read(beat)
        if reading is None:
            return
        if self.locked:
            self._tags.append(reading.phase_ps)
        else:
            self._tags.clear()
        follows = self._settings.follow == "sync" or not self._pulled_in
        # Until a trim has taken effect nobody knows what the clock has done in the meantime.
        if follows and self._pending is None and self.reference_locked is not False:
            self._take_sync(reading)

    def _pull_in(self, light: LightPullIn, beat: Heartbeat) -> None:
        reading = light.heartbeat(beat)
        if reading is None:
            if light.given_up:
                # Histograms are all there is, and show pulses of clocks that are alike.
                self._missing = f"; in raw tags {light.given_up}"
                self.leave_light()
        elif self._pending is None and self.reference_locked is not False:
            self._take_light(reading)

    def _take_light(self, reading: LightReading) -> None:
        self.measured += 1
        self.servo.know(
            reading.phase_ps,
            # Anything between the bounds is as likely.
            reading.half_ps / 3.0**0.5,
            reading.rate_ps_per_s,
            reading.sigma_rate_ps_per_s,
        )
        moves_ps = abs(self.servo.filter.rate_ps_per_s) * self.servo.settings.pull_in_s
        if abs(reading.phase_ps) + moves_ps + reading.half_ps < _RIGHT_SLOT * self._period_ps:
            self.leave_light()

    def _take_sync(self, reading: SyncReading) -> None:
        jitter = self._sync_jitter()
        sigma = _SYNC_JITTER_PS if jitter is None else max(jitter.rms_ps, 1.0)
        if self.servo.measured(reading.phase_ps, sigma, reading.at_s):
            self.measured += 1
        if self.locked and not self._pulled_in:
            # From here on whole slots are right, and the light may lead.
            self._pulled_in, self._pulled_in_s = True, self.now_s

    def histogram(self, period: HistogramPeriod) -> None:
        """Take a finished period; one that ended after the last heartbeat, with the next one."""
        end_s = period.end_tick * self._tick_s
        ahead_s = end_s - self.now_s - self._tick_s
        if ahead_s > 0.0:
            # Further ahead is what was left of the acquisition before: the board sends it late.
            self._early = period if ahead_s < _AHEAD_S else None
            return
        try:
            found = measure_pulses(
                period.counts[: self._detectors].sum(axis=0),
                bin_ps=self._bin_ps,
                period_ps=self._period_ps,
                centres_ps=self._centres_ps,
                width_ps=self._settings.width_ps if self._width is None else self._width[0],
                fit_width=True,
            )
        except TooFewCounts as error:
            self._dark = str(error) + self._missing
            return
        self._dark = ""
        positions = found.positions
        self._width = (positions.width_ps, positions.sigma_width_ps)
        self._background = found.background_per_bin
        began_s = period.start_tick * self._tick_s
        if self._settings.follow == "light" and self._pulled_in and began_s >= self._pulled_in_s:
            middle_s = 0.5 * (period.start_tick + period.end_tick) * self._tick_s
            sigma = max(positions.sigma_shift_ps, _FLOOR_PS)
            if self._pending is None and self.reference_locked is not False:
                self.servo.measured(positions.shift_ps, sigma, middle_s)
        self.measured += 1

    def leave_light(self) -> None:
        """What raw tags say of the light is not looked at any more: histograms do."""
        if self._light is not None:
            self._light = None
            self._pulled_in, self._pulled_in_s = True, self.now_s

    def decide(self) -> int | None:
        """The trim to write now; None: the board has yet to follow the last one."""
        if self._pending is not None:
            return None
        before = self.servo.trim
        trim = self.servo.decide()
        if trim != before:
            self._pending = trim
        return trim

    def not_written(self, trim: int) -> None:
        """The board still has this trim."""
        self._pending = None
        self.servo.undo(trim)

    @property
    def pulling_in(self) -> bool:
        """Whether clocks that may differ by more than a histogram shows are being pulled in."""
        return not self._pulled_in

    @property
    def settled(self) -> bool:
        """Whether the board has every trim that was decided on."""
        return self._pending is None

    @property
    def locked(self) -> bool:
        """Whether the pulses are held."""
        return self.servo.lock.state is LockState.LOCKED

    def _sync_jitter(self) -> Jitter | None:
        return jitter_from_tags(list(self._tags)) if len(self._tags) >= _FEWEST_TAGS else None

    def jitter(self) -> tuple[Jitter | None, str]:
        """Synchronisation jitter, and from what: ``sync`` tags, or the ``width`` of the pulses."""
        jitter = self._sync_jitter()
        if jitter is not None:
            return jitter, "sync"
        s = self._settings
        if self._width is None or s.pulse_ps is None or s.detector_ps is None:
            return None, ""
        width, sigma = self._width
        return jitter_from_width(width, sigma, pulse_ps=s.pulse_ps, detector_ps=s.detector_ps), (
            "width"
        )

    def _follows(self) -> str:
        if self._pulled_in:
            return self._settings.follow
        return "sync" if self._sync is not None else "tags"

    def status(self) -> dict[str, Any]:
        """Plain types.

        state : of the lock. phase_ps : how late the pulses lie, sigma_ps its standard error.
        rate_ppm : of the pulses against the untrimmed clock. measured : grows with every value.
        """
        servo = self.servo
        filter_, lock = servo.filter, servo.lock
        jitter, source = self.jitter()
        width = self._width
        return {
            "state": str(lock.state),
            "alarm": lock.alarm,
            "holdover": lock.state in (LockState.HOLDOVER, LockState.LOST),
            "locked": self.locked,
            "losses": lock.losses,
            "follow": self._follows(),
            "measured": self.measured,
            "refused": filter_.refused,
            "dark": self._dark,
            "phase_ps": filter_.phase_ps,
            "sigma_ps": filter_.sigma_phase_ps,
            "rate_ppm": servo.rate_ps_per_s / PPM_PS_PER_S,
            "trim": servo.trim,
            "limited": servo.limited,
            "width_ps": None if width is None else {"value": width[0], "sigma": width[1]},
            "background_per_bin": self._background,
            "jitter_ps": None if jitter is None else jitter.rms_ps,
            "jitter_below_ps": None if jitter is None else jitter.below_ps,
            "jitter_from": source,
            "reference_locked": self.reference_locked,
            "visibility": None,
        }
