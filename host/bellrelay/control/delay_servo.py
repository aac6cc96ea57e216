"""The loop that keeps one sender's pulses where they belong.

That is either the middle of the relay's windows, where the relay's clock follows a reference, or
the other sender's pulses, where it follows the light itself. In the latter case one of the two
senders is steered and not both: two that each take half of their difference are free to run off
side by side, with the relay after them.

A sender's actuator is a delay. The fibre's drift is nearly straight for minutes, so the delay runs
along with the estimated rate between measurements, which come late, and is never moved faster than
the sender allows.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .drift_filter import DriftFilter, DriftNoise
from .lock import Lock, LockLimits

__all__ = ["DelayServo", "DelayServoSettings"]

_HISTORY = 4096


@dataclass(frozen=True)
class DelayServoSettings:
    """Of a sender's loop.

    range_ps: the delay stays within plus and minus this. slew_ps_per_s: it moves no faster.
    step_ps: smallest step of the sender. settle_s: time constant with which an offset dies out.
    drift_ps_per_s: what the fibre may drift by, one standard deviation. noise: of the fibre and the
    relay's clock together. lock: when it counts as locked.
    """

    range_ps: float = 50_000.0
    slew_ps_per_s: float = 100.0
    step_ps: float = 1.0
    settle_s: float = 10.0
    drift_ps_per_s: float = 10.0
    noise: DriftNoise = field(default_factory=lambda: DriftNoise(2.0, 0.05))
    lock: LockLimits = field(default_factory=lambda: LockLimits(patience_s=60.0))


class DelayServo:
    """One sender.

    Parameters
    ----------
    settings
        Of the loop.
    now_s
        Seconds, on any clock that all calls share.
    delay_ps
        Where the sender stands.

    Attributes
    ----------
    delay_ps : float
        Last delay that was decided on.
    lock : Lock
    filter : DriftFilter
        phase_ps is how late the sender's pulses lie; rate_ps_per_s, how fast that grows.
    """

    def __init__(
        self, settings: DelayServoSettings, now_s: float = 0.0, delay_ps: float = 0.0
    ) -> None:
        self.settings = settings
        self.delay_ps = self._exact_ps = delay_ps
        self.limited = False
        """Whether the last delay was at the end of its range."""
        self.lock = Lock(settings.lock, now_s)
        self._now = self._decided = now_s
        self._history: deque[tuple[float, float]] = deque([(now_s, delay_ps)], _HISTORY)
        self.filter = DriftFilter(settings.noise, 1e4, settings.drift_ps_per_s)

    def pass_time(self, now_s: float) -> None:
        """Come to a time; earlier ones change nothing."""
        if now_s > self._now:
            self.filter.pass_time(now_s - self._now)
            self._now = now_s
        self.lock.passed(self.filter.sigma_phase_ps, self._now)

    def measured(self, offset_ps: float, sigma_ps: float, at_s: float) -> bool:
        """Take how late our pulses were at a time; whether it was believed.

        Call :meth:`pass_time` first.
        """
        moved = self.delay_ps - self._delay_at(at_s)
        age = max(self._now - at_s, 0.0)
        taken = self.filter.measure(offset_ps + moved, sigma_ps, age)
        if taken:
            self.lock.measured(self.filter.phase_ps, self._now)
        return taken

    def decide(self, longest_s: float = math.inf) -> float:
        """The delay to set now; the filter takes it as set.

        longest_s : time in which the sender has really been able to move, where what is measured
        tells of more.
        """
        s = self.settings
        passed = self._now - self._decided
        self._decided = self._now
        # The drift since the last decision is taken back in full, what was off before with time.
        drifted = self.filter.rate_ps_per_s * passed
        off = self.filter.phase_ps + self._exact_ps - self.delay_ps - drifted
        wanted = drifted + off * min(passed / s.settle_s, 1.0)
        largest = s.slew_ps_per_s * min(passed, longest_s)
        reached = self._exact_ps - min(max(wanted, -largest), largest)
        self.limited = abs(reached) > s.range_ps
        # The sender gets whole steps; what they leave is not lost.
        self._exact_ps = min(max(reached, -s.range_ps), s.range_ps)
        set_to = round(self._exact_ps / s.step_ps) * s.step_ps
        self.filter.command(phase_ps=set_to - self.delay_ps)
        self.delay_ps = set_to
        self._history.append((self._now, set_to))
        return set_to

    def hold(self) -> None:
        """Decide that the sender stays where it is."""
        self._decided = self._now

    def stayed(self, delay_ps: float) -> None:
        """The sender has not done what was decided last: it still stands where it stood before."""
        self.filter.command(phase_ps=delay_ps - self.delay_ps)
        self.delay_ps = self._exact_ps = delay_ps
        self._history.append((self._now, delay_ps))

    def _delay_at(self, at_s: float) -> float:
        for begin, delay in reversed(self._history):
            if begin <= at_s:
                return delay
        return self._history[0][1]
