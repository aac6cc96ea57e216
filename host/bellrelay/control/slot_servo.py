"""The loop that keeps the relay's slot clock on the pulses: measured phases in, trim out.

Phase is how late the pulses lie in the slot, against where they belong. The trim is a frequency: it
moves the phase by so much per second from now on. The loop is a Kalman filter of phase and rate and
a controller that lets the phase die out with a time constant; the rate is taken back in full, so
that a constant clock offset leaves no error behind (an integrator that never winds up, for what the
actuator did is known to the filter).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .drift_filter import DriftFilter, DriftNoise
from .lock import Lock, LockLimits

__all__ = ["PPM_PS_PER_S", "SlotServo", "SlotServoSettings", "trim_of_rate", "trim_rate"]

PPM_PS_PER_S = 1e6
"""One part per million, in picoseconds per second."""
_TRIM_UNIT = 2.0**-32
_TRIM_MAX = (1 << 31) - 1
_HISTORY = 4096


def trim_rate(trim: int, clock_period_ps: int) -> float:
    """What a value of the register ``trim`` does to the phase, in ps/s."""
    return trim * _TRIM_UNIT / clock_period_ps * 1e12


def trim_of_rate(rate_ps_per_s: float, clock_period_ps: int) -> int:
    """The value of ``trim`` nearest to a rate, within what the register holds."""
    trim = round(rate_ps_per_s * 1e-12 * clock_period_ps / _TRIM_UNIT)
    return min(max(trim, -_TRIM_MAX), _TRIM_MAX)


@dataclass(frozen=True)
class SlotServoSettings:
    """Of the relay's loop.

    limit_ppm: largest trim. settle_s: time constant with which a phase dies out. pull_in_s: the
    longest while the phase is further off than a locked loop's. clock_ppm: what the clocks may
    differ by at the start, one standard deviation. noise: of the phase, clocks and fibres together.
    lock: when it counts as locked.
    """

    limit_ppm: float = 50.0
    settle_s: float = 3.0
    pull_in_s: float = 0.5
    clock_ppm: float = 10.0
    noise: DriftNoise = field(default_factory=lambda: DriftNoise(3.0, 1.0))
    lock: LockLimits = field(default_factory=LockLimits)


class SlotServo:
    """One relay's slot clock.

    Times are seconds of the board's own clock since the acquisition began.

    Parameters
    ----------
    settings
        Of the loop.
    clock_period_ps
        Of the board: what one unit of trim is worth.
    trim
        In force when the acquisition begins.

    Attributes
    ----------
    trim : int
        Last one that was decided on.
    lock : Lock
    filter : DriftFilter
        phase_ps is how late the pulses lie now; rate_ps_per_s, how fast that grows at this trim.
    """

    def __init__(self, settings: SlotServoSettings, clock_period_ps: int, trim: int = 0) -> None:
        self.settings = settings
        self.trim = trim
        self.lock = Lock(settings.lock, 0.0)
        self.limited = False
        """Whether the last trim was at its limit."""
        self._clock_period_ps = clock_period_ps
        self._now = self._decided = 0.0
        self._history: deque[tuple[float, float]] = deque(
            [(0.0, trim_rate(trim, clock_period_ps))], _HISTORY
        )
        self.filter = DriftFilter(settings.noise, 1e6, settings.clock_ppm * PPM_PS_PER_S)

    @property
    def now_s(self) -> float:
        """The time that was come to."""
        return self._now

    @property
    def rate_ps_per_s(self) -> float:
        """What the trim takes back: the pulses' own rate against the untrimmed clock."""
        return self.filter.rate_ps_per_s - trim_rate(self.trim, self._clock_period_ps)

    def pass_time(self, now_s: float) -> None:
        """Come to a time; earlier ones change nothing."""
        if now_s > self._now:
            self.filter.pass_time(now_s - self._now)
            self._now = now_s
        self.lock.passed(self.filter.sigma_phase_ps, self._now)

    def know(
        self, phase_ps: float, sigma_ps: float, rate_ps_per_s: float, sigma_ps_per_s: float
    ) -> None:
        """Forget all, and take what is known otherwise of now; no loop counts as locked by it.

        Parameters
        ----------
        rate_ps_per_s, sigma_ps_per_s
            Of the pulses against the untrimmed clock.
        """
        self.filter = DriftFilter(self.settings.noise, sigma_ps, sigma_ps_per_s)
        moved = trim_rate(self.trim, self._clock_period_ps)
        self.filter.command(phase_ps=phase_ps, rate_ps_per_s=rate_ps_per_s + moved)

    def measured(self, phase_ps: float, sigma_ps: float, at_s: float) -> bool:
        """Take a phase as it was at a time; whether it was believed.

        Call :meth:`pass_time` first.
        """
        age = max(self._now - at_s, 0.0)
        rate = trim_rate(self.trim, self._clock_period_ps)
        commanded = self._moved_since(at_s) - rate * age
        taken = self.filter.measure(phase_ps + commanded, sigma_ps, age)
        if taken:
            self.lock.measured(self.filter.phase_ps, self._now)
        return taken

    def decide(self) -> int:
        """The trim to write now; the filter takes it as written."""
        s = self.settings
        passed, self._decided = self._now - self._decided, self._now
        far = abs(self.filter.phase_ps) > s.lock.within_ps
        # A loop that is decided on rarely must not be quicker than it looks.
        settle = max(min(s.pull_in_s, s.settle_s) if far else s.settle_s, 2.0 * passed)
        limit = s.limit_ppm * PPM_PS_PER_S
        before = trim_rate(self.trim, self._clock_period_ps)
        wanted = before - self.filter.rate_ps_per_s - self.filter.phase_ps / settle
        self.limited = abs(wanted) > limit
        self.trim = trim_of_rate(min(max(wanted, -limit), limit), self._clock_period_ps)
        rate = trim_rate(self.trim, self._clock_period_ps)
        self.filter.command(rate_ps_per_s=rate - before)
        self._history.append((self._now, rate))
        return self.trim

    def took_effect(self, since_s: float, until_s: float) -> None:
        """The last trim took effect between these times, and not when it was decided on."""
        decided_s, rate = self._history.pop()
        changed = rate - self._history[-1][1]
        at_s = max(0.5 * (since_s + until_s), self._history[-1][0])
        self._history.append((at_s, rate))
        # A time drawn evenly from an interval has a twelfth of its square for a variance.
        unknown = abs(changed) * (until_s - since_s) / 12.0**0.5
        self.filter.command(phase_ps=-changed * (at_s - decided_s), sigma_phase_ps=unknown)

    def undo(self, trim: int) -> None:
        """The board still has this trim: the last one did not reach it."""
        before = trim_rate(self.trim, self._clock_period_ps)
        rate = trim_rate(trim, self._clock_period_ps)
        self.filter.command(rate_ps_per_s=rate - before)
        self.trim = trim
        self._history.append((self._now, rate))

    def _moved_since(self, since_s: float) -> float:
        """What the trim has moved the phase by, from a time until now."""
        moved, end = 0.0, self._now
        for begin, rate in reversed(self._history):
            moved += rate * (end - max(begin, since_s)) if end > since_s else 0.0
            end = min(end, begin)
            if begin <= since_s:
                break
        return moved
