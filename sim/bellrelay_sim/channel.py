"""The fibre from a sender to the relay: what it loses and how late it delivers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .compiled import njit

# Delay drifts slower than this keep pulses in order with a huge margin; a fibre in the ground
# drifts by some ns per hour, i.e. 1e3 ps/s at the very most.
MAX_DRIFT_PS_PER_S = 1e9


@dataclass(frozen=True)
class Arm:
    """One arm of the link.

    eta: probability 0..1 that a photon leaving the source is detected, detector efficiency included
    as far as it is common to all detectors. delay_ps: delay at the start of the acquisition beyond
    that at which a pulse lies at its nominal place in the slot. drift_ps_per_s: linear drift.
    drift_amplitude_ps, drift_period_s, drift_phase: sinusoidal drift, phase in radians at the
    start. walk_ps: random walk, standard deviation after one second; the delay runs straight from
    one step of the walk to the next, walk_step_s later. Raises ValueError naming the parameter that
    is out of range.
    """

    eta: float = 0.1
    delay_ps: float = 0.0
    drift_ps_per_s: float = 0.0
    drift_amplitude_ps: float = 0.0
    drift_period_s: float = 3600.0
    drift_phase: float = 0.0
    walk_ps: float = 0.0
    walk_step_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"eta must lie in 0..1, got {self.eta}")
        if not self.drift_period_s > 0.0:
            raise ValueError(f"drift_period_s must be above 0, got {self.drift_period_s}")
        if not (self.walk_ps >= 0.0 and math.isfinite(self.walk_ps)):
            raise ValueError(f"walk_ps must be >= 0, got {self.walk_ps}")
        if not 1e-6 <= self.walk_step_s <= 1e6:
            raise ValueError(f"walk_step_s must lie in 1e-6..1e6, got {self.walk_step_s}")
        for name in ("delay_ps", "drift_ps_per_s", "drift_amplitude_ps", "drift_phase"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        swing = abs(self.drift_amplitude_ps) * 2.0 * math.pi / self.drift_period_s
        if abs(self.drift_ps_per_s) + swing > MAX_DRIFT_PS_PER_S:
            raise ValueError(f"the delay must not drift by more than {MAX_DRIFT_PS_PER_S:g} ps/s")

    def delay_terms(self) -> tuple[float, float, float, float, float]:
        """What `arm_delay` takes: delay, drift, amplitude, angular frequency in rad/s, phase."""
        return (
            float(self.delay_ps),
            float(self.drift_ps_per_s),
            float(self.drift_amplitude_ps),
            2.0 * math.pi / self.drift_period_s,
            float(self.drift_phase),
        )

    def delay_at(self, seconds: float) -> float:
        """Delay in ps at a time since the acquisition's start, less what the walk adds."""
        return float(arm_delay(self.delay_terms(), float(seconds)))


@njit(cache=True)
def arm_delay(terms, seconds):
    """Delay in ps at `seconds`; terms as `Arm.delay_terms`. The sine starts from zero delay."""
    delay = terms[0] + terms[1] * seconds
    if terms[2] != 0.0:
        delay += terms[2] * (math.sin(terms[3] * seconds + terms[4]) - math.sin(terms[4]))
    return delay
