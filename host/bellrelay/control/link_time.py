"""The time of a link as its watch counts it, and where in it the slots of its acquisitions lie."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

__all__ = ["LinkTime"]

_KEPT = 4096
_LEAST_S = 1e-3


class LinkTime:
    """Passes as the slots that a relay has closed do, and at least as wall time does.

    A simulated link may be quicker or slower than the wall clock; what dies in processes and
    networks dies in wall time, also while no slot is closed.

    Attributes
    ----------
    now_s : float
        Since the watch began.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._acquisition: int | None = None
        # Closed slots, and when they were.
        self._marks: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._period_s = 0.0

    def passed(self, wall_s: float, counted_s: float | None = None) -> float:
        """So much wall time, and link time by the slots counted, if any; returns what passed."""
        span_s = max(wall_s, counted_s or 0.0, _LEAST_S)
        self.now_s += span_s
        return span_s

    def mark(self, acquisition: int | None, slots: int, period_s: float) -> None:
        """So many slots of this acquisition are closed now."""
        if acquisition != self._acquisition:
            self._acquisition = acquisition
            self._marks.clear()
        self._period_s = period_s
        if not self._marks or slots > self._marks[-1][0]:
            self._marks.append((float(slots), self.now_s))

    def of_slot(self, acquisition: int, slot: int) -> float | None:
        """When this slot was closed; None where nobody knows."""
        if acquisition != self._acquisition or not self._marks:
            return None
        at = bisect_right(self._marks, float(slot), key=lambda mark: mark[0])
        if at == len(self._marks):
            return self.now_s
        after, after_s = self._marks[at]
        if at == 0:
            return after_s - (after - slot) * self._period_s
        before, before_s = self._marks[at - 1]
        return before_s + (after_s - before_s) * (slot - before) / (after - before)
