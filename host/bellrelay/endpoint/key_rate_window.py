"""The secret key rate of the last hour: its median and its 95 % quantile.

As the recording rules have it: every minute, bits stored in the ten minutes before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import numpy as np

__all__ = ["KeyRateWindow"]

_NS = 10**9
_MEAN_NS = 600 * _NS
_STEP_NS = 60 * _NS
_WINDOW_NS = 3600 * _NS


class KeyRateWindow:
    """Keys as they are stored."""

    REACH_NS = _WINDOW_NS + _MEAN_NS
    """Keys of so long ago count."""

    def __init__(self) -> None:
        self._keys: deque[tuple[int, int]] = deque()
        self._since_ns: int | None = None

    def begun(self, utc_ns: int) -> None:
        """Blocks were made since then, and all of their keys are told."""
        self._since_ns = utc_ns if self._since_ns is None else min(self._since_ns, utc_ns)

    def stored(self, utc_ns: int, bits: int) -> None:
        """A key was stored; keys come in the order in which they were."""
        self._keys.append((utc_ns, bits))

    def status(self, now_ns: int) -> dict[str, float | None]:
        """`now`, `median` and `p95` in bits per second; None before ten minutes of blocks."""
        oldest = now_ns - self.REACH_NS
        while self._keys and self._keys[0][0] <= oldest:
            self._keys.popleft()
        if self._since_ns is None or now_ns - self._since_ns < _MEAN_NS:
            return {"now": None, "median": None, "p95": None}
        first = max(now_ns - _WINDOW_NS, self._since_ns + _MEAN_NS)
        times = [at for at, _ in self._keys]
        sums = np.concatenate([[0], np.cumsum([bits for _, bits in self._keys], dtype=np.int64)])
        ends = range(now_ns, first - 1, -_STEP_NS)
        rates = [
            float(sums[bisect_right(times, end)] - sums[bisect_right(times, end - _MEAN_NS)])
            * _NS
            / _MEAN_NS
            for end in ends
        ]
        median, p95 = np.quantile(rates, [0.5, 0.95])
        return {"now": rates[0], "median": float(median), "p95": float(p95)}
