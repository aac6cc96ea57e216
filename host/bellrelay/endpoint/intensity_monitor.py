"""Whether a sender's intensities lie where the bounds take them to be, by what a monitor measures.

The bounds hold for any intensity within ``x (1 +/- deviation)`` of the declared x, slot by slot. A
power monitor behind the encoder sees means over many pulses. Readings r of a setting, divided by x,
are taken as normal, with unknown mean m and variance v (their own, plus that of single pulses where
the monitor sees it). From n of them, with sample mean M and sample variance V,

    |m - M| <= t(1 - e/4; n - 1) sqrt(V / n)        but with probability e/2  (Student)
    v <= V (n - 1) / chi2(e/2; n - 1)               but with probability e/2

so that a share ``coverage`` of all lies within ``m +/- z((1 + coverage) / 2) sqrt(v)``, and the
calibration c of the monitor multiplies all of it by 1 +/- c. The largest distance from 1 is the
deviation. What is faster than a reading, and of which the monitor gives no variance, it cannot see:
that is what the characterisation of the sender must exclude.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri, stdtrit

from bellrelay.distill.ladder import SETTINGS, Ladder, O

from .config import IntensityMonitorSettings
from .source_log import Reading

__all__ = ["IntensityFault", "IntensityMonitor", "NotMeasuredYet", "SettingState"]

_NS = 1_000_000_000
_FEWEST = 4
_LEAST_NOISE = 1e-4
_HISTORY_S = 7 * 86400
"""So long ago may a block have begun."""
_Look = tuple[int, float, str | None, bool]
_Series = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


class IntensityFault(Exception):
    """Intensities are not guaranteed to be as declared; the message names setting and cause."""


class NotMeasuredYet(IntensityFault):
    """Of a ladder that is sent now and then: there are too few readings for any statement."""


@dataclass(frozen=True)
class SettingState:
    """What the monitor says of one setting.

    readings: number of them in the window. mean: photons per pulse; nan without a reading.
    relative_variance: of readings and, where measured, of single pulses; nan below two readings.
    deviation: bound on the relative deviation from the declared intensity, of the vacuum the bound
    on photons per pulse; inf where there is no bound. stable: whether it is within the stability
    limit (1 %). fault: why the setting is not guaranteed, or None.
    """

    setting: str
    declared: float
    readings: int
    mean: float
    relative_variance: float
    deviation: float
    stable: bool
    fault: str | None


class IntensityMonitor:
    """Bounds one sender's deviation from its ladder, and remembers for how long it held.

    It looks at every quarter of ``max_age_s``, by the times of the readings: those may be handed
    in later, if not much later. What no reading speaks for is not guaranteed.

    Parameters
    ----------
    settings
        Window and confidence.
    ladder
        Declared. A vacuum with ``vacuum_limit`` is held to that.
    allowed
        Most that the other settings may deviate.
    steady
        Whether the ladder is sent all the time. Of one that is sent now and then, a moment is no
        fault in which nothing can be said of it; but at the end of a block something must be.
    """

    def __init__(
        self,
        settings: IntensityMonitorSettings,
        ladder: Ladder,
        allowed: float,
        *,
        steady: bool = True,
    ) -> None:
        self._settings = settings
        self._steady = steady
        self._ladder = ladder
        self._allowed = allowed
        # Of these nothing but the most light counts.
        dark = ladder.intensities == 0.0
        dark[O] |= ladder.vacuum_limit > ladder.o
        self._dark = dark
        # By setting, in the order of time: times, means, variances.
        self._readings: list[_Series] = [
            (np.empty(0, np.int64), np.empty(0), np.empty(0)) for _ in SETTINGS
        ]
        # (time of a look, deviation then, fault then, whether there were enough fresh readings).
        self._looks: deque[_Look] = deque()
        self.states: tuple[SettingState, ...] = ()
        self._totals = np.zeros((len(SETTINGS), 2))

    def totals(self) -> list[dict[str, Any]]:
        """By setting: readings since the start, for who watches how their mean moves.

        ``readings`` and ``sum`` grow, so that two of these tell of the time between;
        ``relative_variance`` is that of one reading, null below four of them: of neighbours in the
        window, so that a step is none of the noise. ``limit`` is of the vacuum.
        """
        out: list[dict[str, Any]] = []
        for k, setting in enumerate(SETTINGS):
            variance = _noise(self._readings[k][1])
            out.append(
                {
                    "setting": setting,
                    "declared": float(self._ladder.intensities[k]),
                    "limit": self._ladder.vacuum_limit if self._dark[k] else None,
                    "readings": int(self._totals[k, 0]),
                    "sum": float(self._totals[k, 1]),
                    "relative_variance": variance,
                }
            )
        return out

    @property
    def failure_probability(self) -> float:
        """That any of the bounds of one look is wrong."""
        return len(SETTINGS) * self._settings.epsilon

    def update(self, readings: Iterable[Reading], now_ns: int) -> tuple[SettingState, ...]:
        """Take new readings, and look at every moment since the last call; :attr:`states` is now.

        A reading that comes later than ``max_age_s`` after its time has come too late: what could
        not be guaranteed without it stays so.
        """
        fresh = list(readings)
        problems = [p for p in (self._problem(r, now_ns) for r in fresh) if p is not None]
        sound = [r for r in fresh if self._problem(r, now_ns) is None]
        for setting in range(len(SETTINGS)):
            self._take([r for r in sound if r.setting == setting], setting)
        step = int(self._settings.max_age_s * _NS / 4)
        oldest = min((r.time_ns for r in sound), default=now_ns)
        last = self._looks[-1][0] if self._looks else oldest - step
        for time_ns in range(max(last, now_ns - _HISTORY_S * _NS) + step, now_ns, step):
            self._look(time_ns)
        self._look(now_ns, problems[-1] if problems else None)
        while self._looks[0][0] < now_ns - _HISTORY_S * _NS:
            self._looks.popleft()
        self._drop_before(now_ns - int(self._settings.window_s * _NS))
        return self.states

    def _take(self, readings: list[Reading], setting: int) -> None:
        if readings:
            self._totals[setting] += (len(readings), sum(r.mean for r in readings))
            rows = [(r.time_ns, r.mean, r.variance) for r in readings]
            kept = self._readings[setting]
            times = np.concatenate((kept[0], np.array([r[0] for r in rows], np.int64)))
            order = np.argsort(times, kind="stable")
            values = [np.concatenate((kept[i], [r[i] for r in rows]))[order] for i in (1, 2)]
            self._readings[setting] = (times[order], values[0], values[1])

    def _drop_before(self, time_ns: int) -> None:
        for setting, kept in enumerate(self._readings):
            from_here = int(np.searchsorted(kept[0], time_ns))
            self._readings[setting] = (
                kept[0][from_here:],
                kept[1][from_here:],
                kept[2][from_here:],
            )

    def _look(self, time_ns: int, problem: str | None = None) -> None:
        self.states = tuple(self._state(setting, time_ns) for setting in range(len(SETTINGS)))
        fault = problem or next((s.fault for s in self.states if s.fault is not None), None)
        lit = [s.deviation for s, dark in zip(self.states, self._dark, strict=True) if not dark]
        deviation = max(lit)
        longest = self._settings.max_age_s * _NS
        enough = all(
            s.readings >= self._settings.min_readings
            and time_ns - int(times[int(np.searchsorted(times, time_ns, side="right")) - 1])
            <= longest
            for s, (times, _, _) in zip(self.states, self._readings, strict=True)
        )
        self._looks.append((time_ns, deviation, fault, enough))

    def _problem(self, reading: Reading, now_ns: int) -> str | None:
        if not 0 <= reading.setting < len(SETTINGS):
            return f"a reading of setting {reading.setting}, which does not exist"
        name = SETTINGS[reading.setting]
        if not (math.isfinite(reading.mean) and math.isfinite(reading.variance)):
            return f"a reading of {name} that is no number"
        if reading.variance < 0.0:
            return f"a reading of {name} with a negative variance"
        if reading.time_ns > now_ns + self._settings.max_age_s * _NS:
            return f"a reading of {name} that lies in the future: clocks differ"
        return None

    def _state(self, setting: int, time_ns: int) -> SettingState:
        s = self._settings
        times, means, variances = self._readings[setting]
        low = int(np.searchsorted(times, time_ns - int(s.window_s * _NS)))
        high = int(np.searchsorted(times, time_ns, side="right"))
        values = means[low:high]
        name, declared = SETTINGS[setting], float(self._ladder.intensities[setting])
        dark = bool(self._dark[setting])
        n = len(values)
        mean = float(values.mean()) if n else math.nan
        relative_variance, deviation = math.nan, math.inf
        if n >= s.min_readings:
            between = float(values.var(ddof=1))
            single = float(np.mean(variances[low:high] * values**2))
            if mean > 0.0:
                relative_variance = (between + single) / mean**2
            least, most = self._interval(n, mean, between, single)
            deviation = most if dark else max(most / declared - 1, 1 - least / declared)
        fault = self._fault(setting, n, deviation)
        if fault is None and time_ns - int(times[high - 1]) > s.max_age_s * _NS:
            fault = f"no reading of {name} for more than {s.max_age_s:g} s"
        stable = fault is None and (dark or deviation <= s.stability)
        return SettingState(name, declared, n, mean, relative_variance, deviation, stable, fault)

    def _interval(self, n: int, mean: float, variance: float, single: float) -> tuple[float, float]:
        """Photons per pulse between which the share ``coverage`` of all pulses lies."""
        s = self._settings
        off = -float(stdtrit(n - 1, s.epsilon / 4.0)) * math.sqrt(variance / n)
        chi2 = 2.0 * float(gammaincinv((n - 1) / 2.0, s.epsilon / 2.0))
        most = variance * (n - 1) / chi2 + single
        half = off - float(ndtri((1.0 - s.coverage) / 2.0)) * math.sqrt(most)
        return (mean - half) * (1.0 - s.calibration), (mean + half) * (1.0 + s.calibration)

    def _fault(self, setting: int, n: int, deviation: float) -> str | None:
        s, name = self._settings, SETTINGS[setting]
        if n < s.min_readings:
            return f"{n} readings of {name} in {s.window_s:g} s, {s.min_readings} are needed"
        if self._dark[setting]:
            most = self._ladder.vacuum_limit
            if not deviation <= most:
                return f"{name} may have {deviation:.3g} photons per pulse, {most:g} are allowed"
        elif not deviation <= self._allowed:
            return (
                f"{name} may deviate by {deviation:.3g} from the declared "
                f"{self._ladder.intensities[setting]:g}, {self._allowed:g} is allowed"
            )
        return None

    def _look_at_end(self, until_ns: int) -> _Look:
        found = next((look for look in self._looks if look[0] >= until_ns), None)
        if found is None or not found[3]:
            why = None if found is None else found[2]
            raise NotMeasuredYet(why or "intensities were not measured to the end")
        return found

    def deviation(self, since_ns: int, until_ns: int) -> float:
        """Largest relative deviation of any setting at every look between; at most ``allowed``.

        Raises
        ------
        IntensityFault
            A fault at any of these looks, or a time of more than ``max_age_s`` without a look.
        """
        longest = self._settings.max_age_s * _NS
        at_end = None if self._steady else self._look_at_end(until_ns)
        before = [look for look in self._looks if look[0] <= since_ns][-1:]
        looks = before + [look for look in self._looks if since_ns < look[0] <= until_ns]
        times = [since_ns, *(max(look[0], since_ns) for look in looks), until_ns]
        if not looks or (before and since_ns - before[0][0] > longest):
            raise IntensityFault("intensities were not measured from the beginning")
        if max(b - a for a, b in itertools.pairwise(times)) > longest:
            raise IntensityFault(
                f"intensities were not measured for more than {self._settings.max_age_s:g} s"
            )
        if at_end is not None:
            looks = [*(look for look in looks if look[3]), at_end]
        for look in looks:
            if look[2] is not None:
                raise IntensityFault(look[2])
        return max(look[1] for look in looks)


def _noise(values: NDArray[np.float64]) -> float | None:
    """Relative variance of one of these readings, whatever steps are among them."""
    mean = float(values.mean()) if len(values) else 0.0
    if len(values) < _FEWEST or mean <= 0.0:
        return 0.0 if len(values) >= _FEWEST else None
    # Of Gaussian noise the median of |x - y| is 0.954 sigma.
    sigma = float(np.median(np.abs(np.diff(values)))) / 0.954
    return max(sigma / mean, _LEAST_NOISE) ** 2
