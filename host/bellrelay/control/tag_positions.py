"""Slots of raw tags, and positions in them, by the slot clock of a board that is being trimmed.

The board's slot clock is a phase accumulator (docs/reference/stages.md, section 3). Heartbeats tell
which trim holds at their tick; a trim that was written between two of them took effect somewhere
between, here: in the middle. What that leaves is taken out against the board's own histograms,
which are made by the clock itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TagPositions"]

_FRACTION = 2.0**-48
_TRIM = 2.0**-32
_KEPT = 4096


class TagPositions:
    """Of one acquisition.

    Parameters
    ----------
    period_ps, phase_ps, rate
        Registers of the slot clock: slot period T, reference time of cell 0, and rate in units of
        2**-48 ps per clock.
    clock_period_ps
        P.
    trim
        At the start, in units of 2**-32 ps per clock.

    Attributes
    ----------
    clock_period_ps : int
    """

    def __init__(
        self, period_ps: int, phase_ps: int, rate: int, clock_period_ps: int, trim: int = 0
    ) -> None:
        self._period = period_ps
        self._clock = self.clock_period_ps = clock_period_ps
        self._rate = rate * _FRACTION
        self._trim = trim
        self._last_ps = 0
        # From a time on: by how much the reference is ahead of the time, and what a clock adds to
        # that. Not the reference itself: a day has more picoseconds than a float has digits.
        self._begin: list[int] = [0]
        self._ahead: list[float] = [float(phase_ps)]
        self._excess: list[float] = [self._rate + trim * _TRIM]

    def now_ps(self, t_ps: int) -> int:
        """The slot clock at one time: its slot's beginning, and the position in it."""
        slot, position = self.place(np.array([t_ps], np.int64))
        return int(slot[0]) * self._period + int(position[0])

    def heartbeat(self, time_ps: int, trim: int) -> None:
        """This trim is in force at this time of the board's clock."""
        if trim != self._trim:
            begin = (self._last_ps + time_ps) // 2
            clocks = (begin - self._begin[-1]) / self._clock
            self._ahead.append(self._ahead[-1] + clocks * self._excess[-1])
            self._begin.append(begin)
            self._excess.append(self._rate + trim * _TRIM)
            self._trim = trim
            del self._begin[:-_KEPT], self._ahead[:-_KEPT], self._excess[:-_KEPT]
        self._last_ps = time_ps

    def moved(self, by_ps: float) -> None:
        """The board's positions were later by this than ours, lately: so they are from now on."""
        self._ahead = [ahead + by_ps for ahead in self._ahead]

    def place(self, t: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """Slot and position of deskewed tags.

        Parameters
        ----------
        t
            (n,) int64 ps, not negative.

        Returns
        -------
        slot
            (n,) uint64.
        position
            (n,) int32 ps, 0 <= position < T.
        """
        begin = np.array(self._begin, np.int64)
        at = np.maximum(np.searchsorted(begin, t, side="right") - 1, 0)
        clocks = (t - begin[at]) / self._clock
        ahead = np.array(self._ahead)[at] + clocks * np.array(self._excess)[at]
        v = t + np.floor(ahead).astype(np.int64)
        slot, position = np.divmod(v, self._period)
        return slot.astype(np.uint64), position.astype(np.int32)
