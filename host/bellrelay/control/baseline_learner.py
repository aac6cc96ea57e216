"""Learns what a link shows while it is healthy: from a time in which nothing was wrong."""

from __future__ import annotations

from .fault_baseline import Baseline, NotEnoughData, measure_baseline
from .fault_observation import Observation

__all__ = ["BaselineLearner"]


class BaselineLearner:
    """Of one link.

    Parameters
    ----------
    seconds
        Link time without a fault that a baseline takes.

    Attributes
    ----------
    learnt_s : float
        Of that, so far.
    why : str
        Why there is none yet.
    """

    def __init__(self, seconds: float) -> None:
        self.learnt_s = 0.0
        self.why = "not long enough yet"
        self._seconds = seconds
        self._seen: list[Observation] = []

    def take(self, seen: Observation, *, healthy: bool) -> Baseline | None:
        """Take an observation; the baseline, once there is one.

        healthy: whether nothing is known to be wrong. What was seen before a fault is thrown away:
        it may have begun before it was told.
        """
        if not healthy or seen.relay is None:
            self._again("a fault, or no reading of the relay" if not healthy else self.why)
            return None
        self._seen.append(seen)
        self.learnt_s += seen.span_s
        if self.learnt_s < self._seconds:
            return None
        try:
            baseline = measure_baseline(self._seen)
        except NotEnoughData as error:
            self.why = str(error)
            # Blocks may be long; but not all of the past is kept for them.
            if self.learnt_s > 4.0 * self._seconds:
                self._again(self.why)
            return None
        doubts = baseline.doubts()
        if doubts is not None:
            self._again(f"this is no healthy link: {doubts}")
            return None
        return baseline

    def _again(self, why: str) -> None:
        self._seen.clear()
        self.learnt_s, self.why = 0.0, why
