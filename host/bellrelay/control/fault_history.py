"""The last minutes of every watched quantity: sums over a window, and since a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .fault_baseline import Baseline
from .fault_observables import Instance, Sample
from .fault_observation import Observation

__all__ = ["History"]

Floats = NDArray[np.float64]

Columns = tuple[Floats, Floats]

_KEPT_S = 600.0
"""Evidence of a fault that began earlier is that of so many seconds."""


class History:
    """Of one instance. Observations come in the order of time."""

    def __init__(self, instance: Instance, baseline: Baseline) -> None:
        self.instance = instance
        self._baseline = baseline
        self._kept_s = max(_KEPT_S, instance.observable.window_s)
        self._times: Floats = np.empty(0)
        self._begins: Floats = np.empty(0)
        self._num: Floats = np.empty(0)
        self._den: Floats = np.empty(0)

    def extend(self, observations: Sequence[Observation], times: Floats) -> list[Columns]:
        """Take a batch; for every window of the observable, the sums over that which ends then.

        Returns numerators and denominators, (n,) each, the quickest window first.
        """
        instance, base = self.instance, self._baseline
        fresh = np.array([instance.sample(o, base) for o in observations], np.float64)
        begins = times - np.array([o.span_s for o in observations])
        if instance.observable.of_blocks:
            # A block tells of the time since it began, however late it ends.
            begins = np.array(
                [min((b.begin_s for b in o.blocks), default=o.time_s) for o in observations]
            )
        keep = int(np.searchsorted(self._times, times[0] - self._kept_s))
        old = len(self._times) - keep
        self._times = np.concatenate((self._times[keep:], times))
        self._begins = np.concatenate((self._begins[keep:], begins))
        self._num = np.concatenate((self._num[keep:], fresh[:, 0]))
        self._den = np.concatenate((self._den[keep:], fresh[:, 1]))
        if not instance.observable.statistic.adds_up:
            return [(self._num[old:], self._den[old:])]
        windows = [instance.observable.window_s, instance.observable.slow_window_s]
        return [self._sums(w, old) for w in windows if w is not None]

    def _sums(self, window_s: float, old: int) -> Columns:
        # Half a microsecond: times are sums of spans, which round.
        begins = self._times[old:] - window_s + 5e-7
        first = np.searchsorted(self._times, begins, side="right")
        return _windows(self._num, first, old), _windows(self._den, first, old)

    def reason_began(self, time_s: float) -> float:
        """Where what raised an alarm lies, of an observation that ended then: its block's begin."""
        if not self.instance.observable.of_blocks:
            return time_s
        return float(self._begins[int(np.searchsorted(self._times, time_s))])

    def since(self, begin_s: float, end_s: float) -> Sample:
        """Sum of what was observed entirely within these times; (0, 0) if nothing was."""
        end = int(np.searchsorted(self._times, end_s, side="right"))
        inside = np.flatnonzero(self._begins[:end] >= begin_s - 5e-7)
        if not len(inside):
            return 0.0, 0.0
        if not self.instance.observable.statistic.adds_up:
            return float(self._num[inside[-1]]), float(self._den[inside[-1]])
        return float(self._num[inside].sum()), float(self._den[inside].sum())


def _windows(column: Floats, first: NDArray[np.intp], old: int) -> Floats:
    total = np.concatenate(([0.0], np.cumsum(column)))
    return np.asarray(total[old + 1 :] - total[first])
