"""A Kalman filter of an offset that drifts: phase and rate, with what was commanded taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["DriftFilter", "DriftNoise"]


@dataclass(frozen=True)
class DriftNoise:
    """How an offset wanders by itself.

    phase_ps: standard deviation of the phase's random walk after one second. rate_ps_per_s: of the
    rate's after one second, in ps/s.
    """

    phase_ps: float = 1.0
    rate_ps_per_s: float = 0.05

    def __post_init__(self) -> None:
        if not (self.phase_ps >= 0.0 and self.rate_ps_per_s >= 0.0):
            raise ValueError("noise must not be negative")


class DriftFilter:
    """Phase in ps and rate in ps/s of one offset.

    Parameters
    ----------
    noise
        Of the offset.
    phase_sigma_ps, rate_sigma_ps_per_s
        What is known of it at the start: zero, give or take so much.
    gate
        Measurements further off than so many standard errors are refused, up to three in a row:
        after that the world has changed, not the measurement, and by as much as they say.

    Attributes
    ----------
    phase_ps, rate_ps_per_s : float
        Estimates.
    refused : int
        Measurements that were, since the start.
    """

    def __init__(
        self,
        noise: DriftNoise,
        phase_sigma_ps: float,
        rate_sigma_ps_per_s: float,
        gate: float = 6.0,
    ) -> None:
        self._noise = noise
        self._gate = gate
        self._in_a_row = 0
        self._unseen_s = 0.0
        self.phase_ps = self.rate_ps_per_s = 0.0
        self._pp = phase_sigma_ps**2
        self._pr = 0.0
        self._rr = rate_sigma_ps_per_s**2
        self.refused = 0

    @property
    def sigma_phase_ps(self) -> float:
        """Standard error of the phase."""
        return math.sqrt(max(self._pp, 0.0))

    @property
    def sigma_rate_ps_per_s(self) -> float:
        """Standard error of the rate."""
        return math.sqrt(max(self._rr, 0.0))

    def command(
        self, phase_ps: float = 0.0, rate_ps_per_s: float = 0.0, sigma_phase_ps: float = 0.0
    ) -> None:
        """An actuator has changed the offset by this; sigma_phase_ps: where it is not known."""
        self.phase_ps += phase_ps
        self.rate_ps_per_s += rate_ps_per_s
        self._pp += sigma_phase_ps**2

    def pass_time(self, seconds: float) -> None:
        """Let time go by. ValueError: backwards."""
        if seconds < 0.0:
            raise ValueError(f"time goes forward, not by {seconds} s")
        self.phase_ps += self.rate_ps_per_s * seconds
        self._unseen_s += seconds
        q = self._noise.rate_ps_per_s**2
        self._pp += (
            2.0 * seconds * self._pr
            + seconds**2 * self._rr
            + self._noise.phase_ps**2 * seconds
            + q * seconds**3 / 3.0
        )
        self._pr += seconds * self._rr + q * seconds**2 / 2.0
        self._rr += q * seconds

    def ahead(self, seconds: float) -> float:
        """Standard error that the phase will have after so long without any measurement."""
        q = self._noise.rate_ps_per_s**2
        return math.sqrt(
            self._pp
            + 2.0 * seconds * self._pr
            + seconds**2 * self._rr
            + self._noise.phase_ps**2 * seconds
            + q * seconds**3 / 3.0
        )

    def measure(self, phase_ps: float, sigma_ps: float, age_s: float = 0.0) -> bool:
        """Take a measurement of the phase; whether it was taken.

        Parameters
        ----------
        phase_ps
            As it was, plus all that was commanded since.
        sigma_ps
            Its standard error.
        age_s
            How long ago that was.
        """
        # What is measured is phase - age * rate.
        variance = (
            self._pp
            - 2.0 * age_s * self._pr
            + age_s**2 * self._rr
            + sigma_ps**2
            + self._noise.phase_ps**2 * age_s
        )
        innovation = phase_ps - (self.phase_ps - age_s * self.rate_ps_per_s)
        if innovation**2 > self._gate**2 * variance:
            self.refused += 1
            self._in_a_row += 1
            if self._in_a_row <= 3:
                return False
            # Either the phase has jumped, or it has run off since the last one that was believed.
            added_pp = innovation**2
            added_rr = (innovation / max(self._unseen_s, age_s, 1e-3)) ** 2
            self._pp += added_pp
            self._rr += added_rr
            variance += added_pp + age_s**2 * added_rr
        self._in_a_row = 0
        self._unseen_s = age_s
        gain_phase = (self._pp - age_s * self._pr) / variance
        gain_rate = (self._pr - age_s * self._rr) / variance
        self.phase_ps += gain_phase * innovation
        self.rate_ps_per_s += gain_rate * innovation
        self._pp -= gain_phase**2 * variance
        self._pr -= gain_phase * gain_rate * variance
        self._rr -= gain_rate**2 * variance
        return True
