"""How late a sender's light comes to the relay: fibre, clocks, and what the sender was told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .channel import arm_delay
from .choices import Party
from .link import SimulatedLink

__all__ = ["ArrivalDelay"]

_WALK_PURPOSE = 20
_NEVER = 2**62
Terms = tuple[float, float, float, float, float]


class ArrivalDelay:
    """One party's delay, slot by slot, in the form that the compiled loop takes.

    Attributes
    ----------
    commanded_ps : float
        By how much the sender sends later than it would; may be changed at any time.
    """

    def __init__(self, link: SimulatedLink, party: Party) -> None:
        arm = link.arm_a if party is Party.ALICE else link.arm_b
        self.commanded_ps = 0.0
        self._base = arm.delay_terms()
        # A slow clock is a delay that grows, of all light alike.
        self._clock_ps_per_s = link.clock_offset_ppm * 1e6
        self._period_s = link.slot_period_ps * 1e-12
        self._step_ps = arm.walk_ps * arm.walk_step_s**0.5
        self._step_slots = max(1, round(arm.walk_step_s / self._period_s))
        self._random = np.random.default_rng([link.seed, _WALK_PURPOSE, int(party)])
        self._walk: NDArray[np.float64] = np.zeros(1)

    def terms(self, slot: int) -> tuple[Terms, int]:
        """Terms for :func:`.channel.arm_delay`, and the slot from which on others are right."""
        delay, drift, amplitude, angular, phase = self._base
        delay += self.commanded_ps
        drift += self._clock_ps_per_s
        if self._step_ps == 0.0:
            return (delay, drift, amplitude, angular, phase), _NEVER
        step = slot // self._step_slots
        while len(self._walk) < step + 2:
            steps = self._random.normal(0.0, self._step_ps, 256)
            self._walk = np.concatenate((self._walk, self._walk[-1] + np.cumsum(steps)))
        begin_s = step * self._step_slots * self._period_s
        slope = (self._walk[step + 1] - self._walk[step]) / (self._step_slots * self._period_s)
        delay += float(self._walk[step] - slope * begin_s)
        terms = (delay, drift + float(slope), amplitude, angular, phase)
        return terms, (step + 1) * self._step_slots

    def behind(self, slot: int) -> float:
        """Delay in ps in this slot on the relay's clock, all told."""
        return float(arm_delay(self.terms(slot)[0], slot * self._period_s))

    def at(self, slot: int) -> float:
        """Delay in ps in this slot, without what the clocks differ by."""
        return self.behind(slot) - self._clock_ps_per_s * slot * self._period_s
