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

import numpy as np
from scipy.special import gammaincinv, ndtri, stdtrit

from bellrelay.distill.ladder import SETTINGS, Ladder

from .config import IntensityMonitorSettings
from .source_log import Reading

__all__ = ["IntensityFault", "IntensityMonitor", "SettingState"]

_NS = 1_000_000_000
_HISTORY_S = 7 * 86400
"""Longest block that a deviation can be asked for."""


class IntensityFault(Exception):
    """Intensities are not guaranteed to be as declared; the message names setting and cause."""


@dataclass(frozen=True)
class SettingState:
    """What the monitor says of one setting.

    readings: number of them in the window. mean: photons per pulse; nan without a reading.
    relative_variance: of readings and, where measured, of single pulses; nan below two readings.
    deviation: bound on the relative deviation from the declared intensity, of the vacuum the bound
    on photons per pulse; inf where there is none. stable: whether it is within the stability limit
    (1 %). fault: why the setting is not guaranteed, or None.
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

    Call :meth:`update` a few times in every ``max_age_s``; what was not looked at is not
    guaranteed.

    Parameters
    ----------
    settings
        Window, confidence and limits.
    ladder
        Declared; its ``deviation`` is the most that is allowed.
    """

    def __init__(self, settings: IntensityMonitorSettings, ladder: Ladder) -> None:
        self._settings = settings
        self._ladder = ladder
        self._readings: list[deque[Reading]] = [deque() for _ in SETTINGS]
        # (time of a look, deviation then, fault then).
        self._looks: deque[tuple[int, float, str | None]] = deque()
        self.states: tuple[SettingState, ...] = ()

    @property
    def failure_probability(self) -> float:
        """That any of the bounds of one look is wrong."""
        return len(SETTINGS) * self._settings.epsilon

    def update(self, readings: Iterable[Reading], now_ns: int) -> tuple[SettingState, ...]:
        """Take new readings, and look at all of the window; :attr:`states` keeps the result."""
        wrong = None
        for reading in readings:
            problem = self._problem(reading, now_ns)
            if problem is None:
                self._readings[reading.setting].append(reading)
            else:
                wrong = problem
        self.states = tuple(self._state(setting, now_ns) for setting in range(len(SETTINGS)))
        fault = wrong or next((s.fault for s in self.states if s.fault is not None), None)
        deviation = max(s.deviation for s in self.states if s.declared > 0.0)
        self._looks.append((now_ns, deviation, fault))
        while self._looks[0][0] < now_ns - _HISTORY_S * _NS:
            self._looks.popleft()
        return self.states

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

    def _state(self, setting: int, now_ns: int) -> SettingState:
        s = self._settings
        kept = self._readings[setting]
        while kept and kept[0].time_ns < now_ns - s.window_s * _NS:
            kept.popleft()
        name, declared = SETTINGS[setting], float(self._ladder.intensities[setting])
        n = len(kept)
        mean = variance = math.nan
        deviation = math.inf
        if n:
            values = np.array([r.mean for r in kept])
            mean = float(values.mean())
        if n >= s.min_readings:
            single = float(np.mean([r.variance * r.mean**2 for r in kept]))
            spread_squared = float(values.var(ddof=1)) + single
            if mean > 0.0:
                variance = spread_squared / mean**2
            low, high = self._interval(n, mean, float(values.var(ddof=1)), single)
            deviation = high if declared == 0.0 else max(high / declared - 1, 1 - low / declared)
        fault = self._fault(name, declared, n, deviation)
        if fault is None and now_ns - max(r.time_ns for r in kept) > s.max_age_s * _NS:
            fault = f"no reading of {name} for more than {s.max_age_s:g} s"
        stable = fault is None and (declared == 0.0 or deviation <= s.stability)
        return SettingState(name, declared, n, mean, variance, deviation, stable, fault)

    def _interval(self, n: int, mean: float, variance: float, single: float) -> tuple[float, float]:
        """Photons per pulse between which the share ``coverage`` of all pulses lies."""
        s = self._settings
        off = -float(stdtrit(n - 1, s.epsilon / 4.0)) * math.sqrt(variance / n)
        chi2 = 2.0 * float(gammaincinv((n - 1) / 2.0, s.epsilon / 2.0))
        most = variance * (n - 1) / chi2 + single
        half = off - float(ndtri((1.0 - s.coverage) / 2.0)) * math.sqrt(most)
        return (mean - half) * (1.0 - s.calibration), (mean + half) * (1.0 + s.calibration)

    def _fault(self, name: str, declared: float, n: int, deviation: float) -> str | None:
        s, allowed = self._settings, self._ladder.deviation
        if n < s.min_readings:
            return f"{n} readings of {name} in {s.window_s:g} s, {s.min_readings} are needed"
        if declared == 0.0:
            if deviation > s.vacuum_limit:
                return (
                    f"{name} may have {deviation:.3g} photons per pulse, "
                    f"{s.vacuum_limit:g} are allowed"
                )
        elif not deviation <= allowed:
            return (
                f"{name} may deviate by {deviation:.3g} from the declared {declared:g}, "
                f"{allowed:g} is allowed"
            )
        return None

    def deviation(self, since_ns: int, until_ns: int) -> float:
        """Largest relative deviation of any setting at every look between; at most the ladder's.

        Raises
        ------
        IntensityFault
            A fault at any of these looks, or a time of more than ``max_age_s`` without a look.
        """
        longest = self._settings.max_age_s * _NS
        before = [look for look in self._looks if look[0] <= since_ns][-1:]
        looks = before + [look for look in self._looks if since_ns < look[0] <= until_ns]
        times = [since_ns, *(max(look[0], since_ns) for look in looks), until_ns]
        if not looks or (before and since_ns - before[0][0] > longest):
            raise IntensityFault("intensities were not measured from the beginning")
        if max(b - a for a, b in itertools.pairwise(times)) > longest:
            raise IntensityFault(
                f"intensities were not measured for more than {self._settings.max_age_s:g} s"
            )
        for _, _, fault in looks:
            if fault is not None:
                raise IntensityFault(fault)
        return max(look[1] for look in looks)
