"""Simulated time: what happens next, and when. No clock of the machine is looked at."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["EventLoop"]


class EventLoop:
    """Calls functions in the order of their times; those of the same time as they were asked for.

    Attributes
    ----------
    now : float
        Seconds since the start.
    events : int
        Called so far.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call it at this time. ValueError: that is past."""
        if when < self.now:
            raise ValueError(f"{when} is past, it is {self.now}")
        heapq.heappush(self._heap, (when, next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it so much later."""
        self.at(self.now + seconds, call)

    def run(self, until: float) -> None:
        """Up to this time, which is then now."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call = heapq.heappop(heap)
            self.events += 1
            call()
        self.now = until
