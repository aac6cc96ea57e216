"""How late a sender's light comes to the relay: fibre, clocks, and what the sender was told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .channel import arm_delay
from .choices import Party
from .link import SimulatedLink
from .sender_clock import SenderClock

__all__ = ["ArrivalDelay"]

_WALK_PURPOSE = 20
_NEVER = 2**62
Terms = tuple[float, float, float, float, float]


class ArrivalDelay:
    """One party's delay, slot by slot, in the form that the compiled loop takes.

    Parameters
    ----------
    link, party
        Whose arm it is.
    clock
        The senders', which both parties share.

    Attributes
    ----------
    later_ps : float
        What does not change by itself: the arm's delay and what the sender was told. May be changed
        at any time.
    """

    def __init__(self, link: SimulatedLink, party: Party, clock: SenderClock) -> None:
        arm = link.arm_a if party is Party.ALICE else link.arm_b
        self.later_ps, self._drift, self._amplitude, self._angular, self._phase = arm.delay_terms()
        # What other drifts before have left, against one that has always been as it is now.
        self._drifted_ps = 0.0
        self._clock = clock
        self._period_s = link.slot_period_ps * 1e-12
        self._step_ps = arm.walk_ps * arm.walk_step_s**0.5
        self._step_slots = max(1, round(arm.walk_step_s / self._period_s))
        self._random = np.random.default_rng([link.seed, _WALK_PURPOSE, int(party)])
        self._walk: NDArray[np.float64] = np.zeros(1)

    def drift_at(self, drift_ps_per_s: float, slot: int) -> None:
        """Another linear drift from the beginning of a slot on; the delay does not jump."""
        self._drifted_ps += (self._drift - drift_ps_per_s) * slot * self._period_s
        self._drift = drift_ps_per_s

    def terms(self, slot: int) -> tuple[Terms, int]:
        """Terms for :func:`.channel.arm_delay`, and the slot from which on others are right."""
        # A slow clock is a delay that grows, of all light alike.
        delay = self.later_ps + self._drifted_ps + self._clock.shift_ps
        drift = self._drift + self._clock.rate_ps_per_s
        amplitude, angular, phase = self._amplitude, self._angular, self._phase
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
        return self.behind(slot) - self._clock.behind(slot)
