"""From what a relay publishes of tracking slots to where a sender's light lies, and its delay.

Time is the link's: slots times their period, as the relay's events tell it. A relay that lies about
it, or about clicks, moves the sender within its range and no faster than its slew; it learns
nothing, as no slot that makes key is looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.endpoint.config import TrackingSettings
from bellrelay.endpoint.source_log import SourceLogError
from bellrelay.endpoint.tracking_source import SentInTracking, TrackingSource
from bellrelay.wire.messages import Event
from bellrelay.wire.payloads import PayloadError
from bellrelay.wire.tracking import TrackingClicks

from .delay_servo import DelayServo, DelayServoSettings
from .lock import LockLimits, LockState
from .pulse_positions import TooFewCounts
from .source_delay import (
    SentClicks,
    SourceDelays,
    coarse_delays,
    source_delays,
    tabulate_clicks,
)
from .source_light import SourceLight, source_light

__all__ = ["SenderPosition", "SourceTracking", "TrackingCounts"]

_LEAST_SIGMA_PS = 0.5
"""No error bar is believed to be smaller: bins, codes and wander are not in it."""
_SEEN = 5.0
"""Standard errors of light at which there is some."""
_LONGEST_CALIBRATION_S = 1800.0
_IN_PULSES = 0.9
"""Share of a source's light that must lie in the pulses that were found: while the relay's clock is
pulled in light is a blur, and what fits it best are pulses of both sources side by side."""
_LONGEST_WINDOWS = 12
"""Windows that are put together where one has too few clicks; after that the fibre has moved."""


@dataclass
class TrackingCounts:
    """What became of events and clicks. stale : events that came twice, or too late. blurred :
    windows whose light lies in no pulses. unlocked : events while the relay's clock was not locked.
    """

    taken: int = 0
    malformed: int = 0
    stale: int = 0
    unknown: int = 0
    unlocked: int = 0
    blurred: int = 0
    clicks: int = 0
    clicks_outside: int = 0
    clicks_unknown: int = 0


@dataclass
class SenderPosition:
    """Where a sender stands, and since when: what a new process has to know.

    at_s : link time of the acquisition up to which all is done.
    """

    delay_ps: float = 0.0
    acquisition: int = 0
    at_s: float = 0.0


@dataclass
class _Window:
    """Clicks that make one measurement, as soon as it is so long."""

    begin_slot: int
    clicks: SentClicks
    intensities: NDArray[np.float64] = field(repr=False)
    due_s: float


class SourceTracking:
    """One sender at one relay.

    Parameters
    ----------
    settings
        Of tracking.
    source
        What was sent in tracking slots.
    position
        Where the sender stands.

    Attributes
    ----------
    servo : DelayServo
    measured : int
        Windows that were evaluated.
    light : SourceLight or None
    delays : SourceDelays or None
        Of the last window; None where there was no light to find them in.
    counts : TrackingCounts
    position : SenderPosition
    """

    def __init__(
        self, settings: TrackingSettings, source: TrackingSource, position: SenderPosition
    ) -> None:
        self.settings = settings
        self.source = source
        self.position = position
        self.counts = TrackingCounts()
        self.measured = 0
        self.light: SourceLight | None = None
        self.delays: SourceDelays | None = None
        self._centres = tuple(settings.centres_ps)
        # Until it says that it is not.
        self._relay_locked = True
        self._begin()

    def _begin(self) -> None:
        s, p = self.settings, self.position
        self.servo = DelayServo(
            DelayServoSettings(
                range_ps=s.range_ps,
                slew_ps_per_s=s.slew_ps_per_s,
                step_ps=s.step_ps,
                settle_s=s.settle_s,
                drift_ps_per_s=s.drift_ps_per_s,
                lock=LockLimits(
                    within_ps=s.locked_ps,
                    patience_s=max(6.0 * s.window_s, 1.0),
                    holdover_ps=s.holdover_ps,
                ),
            ),
            p.at_s,
            p.delay_ps,
        )
        self.now_s = p.at_s
        self._calibrating_to_s = p.at_s
        # By setting, since the intensities are as they are: slots, and clicks in them.
        self._sent: NDArray[np.float64] = np.empty(0)
        self._by_setting = np.zeros((2, 0), np.int64)
        self._end_slot = round(p.at_s * 1e12 / s.slot_period_ps)
        self._window: _Window | None = None

    # ------------------------------------------------------------------------------ what comes

    def take(self, event: Event) -> None:
        """Take an event of the relay's; whatever it is, this is no reason to end anything.

        Raises
        ------
        OSError
            As of the source log and of the store.
        """
        if event.acquisition != self.position.acquisition:
            if event.acquisition < self.position.acquisition:
                self.counts.stale += 1
                return
            # Slots begin anew, and the relay's clock may stand elsewhere; the sender stays.
            self.position = SenderPosition(self.servo.delay_ps, event.acquisition)
            self._relay_locked = True
            self._begin()
        if event.kind == "heartbeat":
            cut = event.values.get("cut_slot")
            if isinstance(cut, int) and not isinstance(cut, bool) and 0 <= cut < 1 << 63:
                self._pass_to(cut)
            clock = event.values.get("slot_clock")
            if isinstance(clock, str):
                self._clock(locked=clock == "locked")
        elif event.kind == "calibration":
            self._calibration(event)
        elif event.kind == "slot-clock":
            self._clock(locked=event.values.get("state") == "locked")
        elif event.kind == TrackingClicks.KIND and self.now_s >= self._calibrating_to_s:
            self._clicks(event)

    def _clock(self, *, locked: bool) -> None:
        """What the relay says of its slot clock; a window has clicks of before or after."""
        if locked != self._relay_locked:
            self._relay_locked, self._window = locked, None

    def _calibration(self, event: Event) -> None:
        """Pulses that the relay moves on purpose say nothing of our sender.

        A relay that never ends it is believed for a while only.
        """
        what = event.values.get("what")
        if what == "begun":
            self._calibrating_to_s = self.now_s + _LONGEST_CALIBRATION_S
            self._window = None
        elif what == "ended":
            self._calibrating_to_s = self.now_s

    def decide(self, wall_s: float) -> float | None:
        """The delay that the sender should have now; None where nothing is to be moved.

        wall_s : seconds since the last call, by the clock on the wall. A relay that tells of more
        moves the sender no faster.
        """
        if self.servo.lock.state is LockState.LOST:
            self.servo.hold()
            return None
        before = self.servo.delay_ps
        wanted = self.servo.decide(wall_s)
        self.position = SenderPosition(wanted, self.position.acquisition, self.now_s)
        return wanted if wanted != before else None

    def stayed(self, delay_ps: float) -> None:
        """The sender did not move, and stands there."""
        self.servo.stayed(delay_ps)
        self.position = SenderPosition(delay_ps, self.position.acquisition, self.now_s)

    def restart(self) -> None:
        """Forget what was measured; the sender stays where it is, and the relay's clock as well."""
        self.position = SenderPosition(self.servo.delay_ps, self.position.acquisition, self.now_s)
        self._begin()

    # ------------------------------------------------------------------------------ the work

    def _pass_to(self, slot: int) -> None:
        now_s = slot * self.settings.slot_period_ps * 1e-12
        if now_s > self.now_s:
            self.now_s = now_s
            self.servo.pass_time(now_s)

    def _clicks(self, event: Event) -> None:
        counts = self.counts
        try:
            clicks = TrackingClicks.parse(event.values)
        except PayloadError:
            counts.malformed += 1
            return
        if clicks.first_slot < self._end_slot:
            counts.stale += 1
            return
        self._end_slot = clicks.end_slot
        self._pass_to(clicks.end_slot)
        if not self._relay_locked:
            counts.unlocked += 1
            return
        try:
            sent = self.source.look(event.acquisition, clicks)
            intensities = self.source.intensities(event.acquisition)
        except SourceLogError:
            counts.unknown += 1
            return
        counts.taken += 1
        counts.clicks += len(sent.setting)
        counts.clicks_outside += sent.outside
        counts.clicks_unknown += sent.unknown
        self._add(sent, intensities)

    def _add(self, sent: SentInTracking, intensities: NDArray[np.float64]) -> None:
        s = self.settings
        table = tabulate_clicks(
            sent.position_ps.astype(np.int64),
            sent.setting,
            sent.slots,
            bin_ps=s.bin_ps,
            period_ps=round(s.slot_period_ps),
        )
        if not np.array_equal(self._sent, intensities):
            self._sent = intensities
            self._by_setting = np.zeros((2, len(intensities)), np.int64)
        self._by_setting += (table.slots, table.counts.sum(axis=1))
        window = self._window
        if window is None or not np.array_equal(window.intensities, intensities):
            window = self._window = _Window(sent.first_slot, table, intensities, s.window_s)
        else:
            window.clicks = window.clicks + table
        length_s = (sent.end_slot - window.begin_slot) * s.slot_period_ps * 1e-12
        if length_s < window.due_s:
            return
        window.due_s += s.window_s
        middle_s = 0.5 * (sent.end_slot + window.begin_slot) * s.slot_period_ps * 1e-12
        if self._evaluate(window, middle_s) or length_s >= _LONGEST_WINDOWS * s.window_s:
            self._window = None

    def _evaluate(self, window: _Window, middle_s: float) -> bool:
        """Measure; whether the window is done with."""
        s, servo = self.settings, self.servo
        try:
            self.light = source_light(window.clicks, window.intensities)
        except TooFewCounts:
            return False
        self.measured += 1
        before, self.delays = self.delays, None
        if self.light.value < _SEEN * self.light.sigma:
            # No light of ours: that is measured, and nothing else can be.
            return True
        clicks, sent, centres = window.clicks, window.intensities, self._centres
        try:
            start = (
                coarse_delays(clicks, sent, centres_ps=centres, width_ps=s.width_ps)
                if before is None
                else (before.own_ps, before.other_ps)
            )
            found = source_delays(
                clicks, sent, centres_ps=centres, width_ps=s.width_ps, start_ps=start
            )
        except TooFewCounts:
            return False
        own, sigma = found.own_ps, found.sigma_own_ps
        if s.aim == "other":
            own, sigma = found.apart_ps, found.sigma_apart_ps
        if sigma > s.width_ps:
            return False
        light = self.light
        least = min(_IN_PULSES * light.value, light.value - 2.0 * light.sigma)
        if found.own_clicks < least:
            self.counts.blurred += 1
            return True
        self.delays = found
        servo.measured(own, max(sigma, _LEAST_SIGMA_PS), middle_s)
        return True

    # ------------------------------------------------------------------------------ status

    def status(self) -> dict[str, Any]:
        """Plain types, nothing secret."""
        servo, light, delays = self.servo, self.light, self.delays
        expected = self.settings.transmittance
        told = None
        if light is not None:
            told = {**asdict(light), "share": None}
            if expected is not None:
                told["share"] = light.transmittance / expected
        return {
            "measured": self.measured,
            "calibrating": self.now_s < self._calibrating_to_s,
            "acquisition": self.position.acquisition,
            "link_s": self.now_s,
            "light": told,
            "delay_ps": delays and _pair(delays.own_ps, delays.sigma_own_ps),
            "other_delay_ps": delays and _pair(delays.other_ps, delays.sigma_other_ps),
            "apart_ps": delays and _pair(delays.apart_ps, delays.sigma_apart_ps),
            "offset_ps": _pair(servo.filter.phase_ps, servo.filter.sigma_phase_ps),
            "rate_ps_per_s": _pair(servo.filter.rate_ps_per_s, servo.filter.sigma_rate_ps_per_s),
            "state": str(servo.lock.state),
            "losses": servo.lock.losses,
            "refused": servo.filter.refused,
            "limited": servo.limited,
            "commanded_ps": servo.delay_ps,
            "counts": asdict(self.counts),
            "by_setting": {
                "sent": self._sent.tolist(),
                "slots": self._by_setting[0].tolist(),
                "clicks": self._by_setting[1].tolist(),
            },
        }


def _pair(value: float, sigma: float) -> dict[str, float]:
    return {"value": value, "sigma": sigma}
