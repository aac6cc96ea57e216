"""The highest of what was noted lately: what happens between two looks at a metric is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["RecentPeak"]

_PERIOD_S = 60.0


class RecentPeak:
    """The highest value of the last minute, up to two: who looks once a minute misses none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + _PERIOD_S
        self._now = self._before = 0.0

    def note(self, value: float) -> None:
        """Take a value."""
        self._turn()
        self._now = max(self._now, value)

    @property
    def value(self) -> float:
        """The highest of them; 0 if there was none."""
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        late = self._clock() - self._until
        if late >= 0.0:
            self._before = self._now if late < _PERIOD_S else 0.0
            self._now = 0.0
            self._until += _PERIOD_S * (late // _PERIOD_S + 1.0)
