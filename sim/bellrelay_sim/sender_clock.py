"""How far the senders' common clock is behind the relay's, whose rate may change under way."""

from __future__ import annotations

import math

__all__ = ["SenderClock"]


class SenderClock:
    """Slots of the senders on the relay's time axis.

    Parameters
    ----------
    slot_period_ps
        On the senders' own clock.
    offset_ppm
        How much slower than the relay's it runs at first.
    """

    def __init__(self, slot_period_ps: int, offset_ppm: float) -> None:
        self._period_ps = slot_period_ps
        self.offset_ppm = offset_ppm
        self.shift_ps = 0.0
        """What other rates before have left, against one that has always run as it does now."""

    @property
    def rate_ps_per_s(self) -> float:
        """By how much light comes later with every second of the senders' clock."""
        return self.offset_ppm * 1e6

    def behind(self, slot: int) -> float:
        """Picoseconds by which a slot begins later than on the relay's own clock."""
        return self.shift_ps + self.offset_ppm * 1e-6 * slot * self._period_ps

    def run_at(self, offset_ppm: float, slot: int) -> None:
        """Another rate from the beginning of a slot on; what came before stays as it was."""
        self.shift_ps += (self.offset_ppm - offset_ppm) * 1e-6 * slot * self._period_ps
        self.offset_ppm = offset_ppm

    def slots_before(self, time_ps: int) -> int:
        """Slots that begin before a time on the relay's clock."""
        stretch = 1.0 + self.offset_ppm * 1e-6
        return math.ceil((time_ps - self.shift_ps) / (self._period_ps * stretch))
