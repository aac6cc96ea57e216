"""Requests counted by method and code, and how long they took, for /metrics."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS_S", "CODES", "METHODS", "RequestTally"]

METHODS = ("status", "enc_keys", "dec_keys", "openapi", "other")
"""Of the API; `other`: what came to none of them, or from nobody that is known."""
CODES = (200, 400, 401, 503)
"""Every answer has one of these: the standard knows no other."""

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class RequestTally:
    """Of one server. Methods and codes that never occurred stand at 0.

    Of a series that begins at 1 Prometheus can tell no increase: the first 503 would not be seen.

    Attributes
    ----------
    requests : dict
        Number by (method of the API, code).
    buckets, seconds : dict
        By method: answers that took up to each of `BOUNDS_S` and no less than the one before, the
        last for longer ones; and the sum of all times.
    """

    def __init__(self) -> None:
        self.requests = {(method, code): 0 for method in METHODS for code in CODES}
        self.buckets = {method: [0] * (len(BOUNDS_S) + 1) for method in METHODS}
        self.seconds = dict.fromkeys(METHODS, 0.0)

    def add(self, method: str, code: int, seconds: float) -> None:
        """One answer. KeyError: by no method of these, or with no code of these."""
        self.requests[method, code] += 1
        self.buckets[method][bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[method] += seconds
