"""What is written down of a simulation: how busy something was, and how times are spread."""

from __future__ import annotations

import math
import random
from typing import Protocol

__all__ = ["Busy", "Spread"]

_KEPT = 4096


class Clock(Protocol):
    """Whoever knows the time."""

    now: float


class Busy:
    """Share of something that was in use, over time.

    Parameters
    ----------
    clock
        The simulation's.
    most
        How much of it there is.
    """

    def __init__(self, clock: Clock, most: float) -> None:
        self._clock = clock
        self._most = most
        self._level = 0.0
        self._since = self._begun = clock.now
        self._sum = 0.0

    def now(self, level: float) -> None:
        """So much is in use from now on."""
        at = self._clock.now
        self._sum += self._level * (at - self._since)
        self._since, self._level = at, level

    def restart(self) -> None:
        """Forget what was before."""
        self._sum = 0.0
        self._since = self._begun = self._clock.now

    @property
    def share(self) -> float:
        """In use, of all, since the start; 0..1."""
        at = self._clock.now
        if at <= self._begun:
            return 0.0
        used = self._sum + self._level * (at - self._since)
        return used / (at - self._begun) / self._most


class Spread:
    """Many times, of which a fair sample is kept: mean and number are exact, percentiles are not.

    Reservoir sampling, seeded, so that the same run says the same.
    """

    def __init__(self) -> None:
        self.number = 0
        self.largest = 0.0
        self._sum = 0.0
        self._kept: list[float] = []
        self._random = random.Random(20)

    def add(self, value: float) -> None:
        """One more."""
        self.number += 1
        self._sum += value
        self.largest = max(self.largest, value)
        if len(self._kept) < _KEPT:
            self._kept.append(value)
        else:
            at = int(self._random.random() * self.number)
            if at < _KEPT:
                self._kept[at] = value

    def merge(self, other: Spread) -> None:
        """Those of another place as well; weights of the samples are kept only roughly."""
        self.number += other.number
        self._sum += other._sum
        self.largest = max(self.largest, other.largest)
        self._kept += other._kept

    @property
    def mean(self) -> float:
        """nan: there is none."""
        return self._sum / self.number if self.number else math.nan

    def percentile(self, percent: float) -> float:
        """The least that so many of a hundred do not exceed. nan: there is none."""
        if not self._kept:
            return math.nan
        ordered = sorted(self._kept)
        return ordered[max(0, math.ceil(percent / 100.0 * len(ordered)) - 1)]
