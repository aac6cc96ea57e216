"""Errors that rise slowly: a cumulative sum that tells a small rise from noise, given time.

Page's CUSUM: S grows by the log likelihood ratio of every block's counts between an error rate p1
and p0 < p1, and never falls below 0. It is beyond noise at ``h = -ln(false alarm)``: while the rate
is p0 or less, that takes exp(h) blocks on average, or more (G. Lorden, Ann. Math. Stat. 42, 1897
(1971)). An alarm of a few seconds' counts, or of a minute's, needs a far larger rise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .fault_baseline import Baseline, x_events
from .fault_observation import Observation

__all__ = ["ErrorCusum", "ErrorDrift"]

_BASELINE_SIGMAS = 5.0
"""The baseline is known to so much: a rise within it may be the baseline's own error."""
_SLACK_Z, _RISE_Z = 0.002, 0.004
_SLACK_X, _RISE_X = 0.005, 0.01
_MOST = 2.0
"""Where the sum stops growing, in units of h: it must come down again once the fault is mended."""


class ErrorCusum:
    """Of one error rate.

    Parameters
    ----------
    usual, events
        Its baseline: share of so many.
    slack
        Wander of a healthy link above its baseline.
    rise
        Beyond that, what shall be told.
    false_alarm
        Probability of one look, on average.

    Attributes
    ----------
    level : float
        Of the sum, in units of what is beyond noise.
    """

    def __init__(
        self, usual: float, events: int, slack: float, rise: float, false_alarm: float
    ) -> None:
        sigma = math.sqrt(max(usual * (1.0 - usual), 1.0 / events) / events)
        p0 = min(usual + _BASELINE_SIGMAS * sigma + slack, 0.4)
        p1 = p0 + rise
        self.level = 0.0
        self._height = -math.log(false_alarm)
        self._of_error = math.log(p1 / p0)
        self._of_right = math.log((1.0 - p1) / (1.0 - p0))

    def take(self, errors: int, events: int) -> float:
        """Take a block's counts; the level after it."""
        gain = errors * self._of_error + (events - errors) * self._of_right
        self.level = min(max(self.level + gain / self._height, 0.0), _MOST)
        return self.level


class ErrorDrift:
    """Of errors in Z and X; what a baseline does not have is not watched."""

    def __init__(self, baseline: Baseline, false_alarm: float) -> None:
        self._z = self._x = None
        if baseline.error_z is not None and baseline.sifted:
            self._z = ErrorCusum(baseline.error_z, baseline.sifted, _SLACK_Z, _RISE_Z, false_alarm)
        if baseline.known and baseline.x_events:
            self._x = ErrorCusum(
                baseline.error_x, baseline.x_events, _SLACK_X, _RISE_X, false_alarm
            )

    def annotate(self, observations: Sequence[Observation]) -> list[Observation]:
        """The same, each with the levels after its blocks."""
        out = []
        for seen in observations:
            for block in seen.blocks:
                if self._z is not None and block.sifted:
                    self._z.take(block.corrected, block.sifted)
                if self._x is not None and block.n is not None and block.m is not None:
                    self._x.take(x_events(block.m), x_events(block.n))
            out.append(
                replace(
                    seen,
                    slow_z=None if self._z is None else self._z.level,
                    slow_x=None if self._x is None else self._x.level,
                )
            )
        return out
