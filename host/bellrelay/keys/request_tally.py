"""Requests counted by method and code, and how long they took, for /metrics."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS_S", "RequestTally"]

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class RequestTally:
    """Of one server.

    Attributes
    ----------
    requests : dict
        Number by (method of the API, code).
    buckets, seconds : dict
        By method: answers that took up to each of `BOUNDS_S` and no less than the one before, the
        last for longer ones; and the sum of all times.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.buckets: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}

    def add(self, method: str, code: int, seconds: float) -> None:
        """One answer."""
        self.requests[method, code] = self.requests.get((method, code), 0) + 1
        counts = self.buckets.setdefault(method, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[method] = self.seconds.get(method, 0.0) + seconds
