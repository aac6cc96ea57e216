"""Chunks of the board's arrival-time histogram, put together to whole periods."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.payloads import Histogram

__all__ = ["HistogramPeriod", "HistogramPeriods"]


@dataclass(frozen=True, eq=False)
class HistogramPeriod:
    """Arrival times of the ticks [start_tick, end_tick): (channels, bins) int64."""

    start_tick: int
    end_tick: int
    counts: NDArray[np.int64] = field(repr=False)


class HistogramPeriods:
    """Of one acquisition.

    Attributes
    ----------
    last : HistogramPeriod or None
        The last period of which every chunk has come.
    incomplete : int
        Periods of which the board, or the line, has left something out.
    """

    def __init__(self, channels: int, bins: int) -> None:
        self.last: HistogramPeriod | None = None
        self.incomplete = 0
        self._counts: NDArray[np.int64] = np.zeros((channels, bins), np.int64)
        self._period = -1
        self._missing = 0

    def take(self, chunk: Histogram) -> None:
        """Add a chunk, whose channel and bins are known to exist."""
        if chunk.period != self._period:
            self.incomplete += self._missing > 0
            self._period = chunk.period
            self._counts = np.zeros_like(self._counts)
            self._missing = self._counts.size
        end = chunk.first_bin + len(chunk.counts)
        self._counts[chunk.channel, chunk.first_bin : end] = chunk.counts
        self._missing -= len(chunk.counts)
        if self._missing == 0:
            self.last = HistogramPeriod(chunk.start_tick, chunk.end_tick, self._counts)
