"""Whether a loop holds: acquiring, locked, holdover, lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Lock", "LockLimits", "LockState"]


class LockState(StrEnum):
    """What a loop does."""

    ACQUIRING = "acquiring"
    """It measures, and is not yet where it should be."""
    LOCKED = "locked"
    """It measures, and holds."""
    HOLDOVER = "holdover"
    """Nothing to measure: it goes on with the rate that it knows."""
    LOST = "lost"
    """Holdover has lasted until the error may be too large."""


@dataclass(frozen=True)
class LockLimits:
    """When a loop counts as what.

    within_ps: offset that a locked loop keeps to. count: measurements in a row to lock, and to
    unlock. patience_s: without a measurement for so long it is holdover. holdover_ps: standard
    error of the predicted offset at which holdover ends.
    """

    within_ps: float = 100.0
    count: int = 3
    patience_s: float = 5.0
    holdover_ps: float = 100.0

    def __post_init__(self) -> None:
        if not (self.within_ps > 0.0 and self.patience_s > 0.0 and self.holdover_ps > 0.0):
            raise ValueError("limits of a lock must be positive")
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, got {self.count}")


class Lock:
    """State of one loop.

    Attributes
    ----------
    state : LockState
    since_s : float
        When it came into this state, on the caller's clock.
    losses : int
        Times that it was locked and then was not.
    """

    def __init__(self, limits: LockLimits, now_s: float) -> None:
        self.limits = limits
        self.state = LockState.ACQUIRING
        self.since_s = now_s
        self.losses = 0
        self._measured_s = now_s
        self._good = 0
        self._bad = 0

    @property
    def alarm(self) -> str | None:
        """What a person should hear; None while all is well or on its way to be."""
        if self.state is LockState.HOLDOVER:
            return "holdover"
        if self.state is LockState.LOST:
            return "holdover has lasted too long"
        return None

    def measured(self, offset_ps: float, now_s: float) -> None:
        """There is light, and it lies so far off."""
        self._measured_s = now_s
        if abs(offset_ps) <= self.limits.within_ps:
            self._good, self._bad = self._good + 1, 0
        else:
            self._good, self._bad = 0, self._bad + 1
        if self.state is LockState.LOCKED:
            if self._bad >= self.limits.count:
                self._go(LockState.ACQUIRING, now_s)
        elif self._good >= self.limits.count:
            self._go(LockState.LOCKED, now_s)
        elif self.state in (LockState.HOLDOVER, LockState.LOST) and self._bad:
            self._go(LockState.ACQUIRING, now_s)

    def passed(self, sigma_ps: float, now_s: float) -> None:
        """Time has passed; the offset is known to so much."""
        silent = now_s - self._measured_s > self.limits.patience_s
        if self.state is LockState.LOCKED and silent:
            self._good = 0
            self._go(LockState.HOLDOVER, now_s)
        if self.state is LockState.HOLDOVER and sigma_ps > self.limits.holdover_ps:
            self._go(LockState.LOST, now_s)

    def _go(self, state: LockState, now_s: float) -> None:
        if self.state is LockState.LOCKED:
            self.losses += 1
        self.state, self.since_s = state, now_s
        self._good = self._bad = 0
