"""So many requests a second for each SAE: one that asks too often takes nothing from the others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """A token bucket per name.

    Parameters
    ----------
    per_s : float
        Tokens that come back in a second.
    burst : float
        Tokens that are there after a rest.
    """

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        # Names come from certificates that our authority signed: there are not many.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, tokens: float = 1.0) -> int | None:
        """Take tokens; None if they were there, else whole seconds until they are."""
        now = self._clock()
        left, since = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_s)
        if left >= tokens:
            self._buckets[name] = (left - tokens, now)
            return None
        self._buckets[name] = (left, now)
        return max(1, math.ceil((min(tokens, self._burst) - left) / self._per_s))
