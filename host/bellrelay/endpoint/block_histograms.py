"""How long blocks took and how many errors they had: every one counted, between scrapes as well."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

__all__ = ["BlockHistogram"]


class BlockHistogram:
    """Counts values by upper bounds, as Prometheus has it: a value at a bound is below it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def take(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def status(self) -> dict[str, Any]:
        """Plain values: bounds, counts (one more, above the last bound), and the sum."""
        return {"bounds": list(self._bounds), "counts": list(self._counts), "sum": self._sum}
