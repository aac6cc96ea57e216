"""A model of tapped delay lines: what the flip-flops of a real one would hold.

Delays here are made up, after the timing database of Project Trellis (ECP5, grade 6, typical:
66 ps from carry to carry of two taps, 343 and 415 ps from carry to the even and the odd tap, so
that an odd tap is later than the even one after it) and after what others measured on other
devices: mismatch, taps of no width, wide ones where the line enters the next tile, delays that
grow by 1.3 % in 15 K. Whatever comes out of it is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClockEdges", "DelayLineModel", "arrivals_to_codes", "made_up_line", "sample_line"]

DRIFT_PER_KELVIN = 0.013 / 15
_JITTER_TABLE = 1 << 18


class ClockEdges:
    """Times of a clock's edges, with white jitter.

    Parameters
    ----------
    period_ps
        Above 0.
    jitter_ps
        RMS of one edge, below a tenth of the period.
    seed
        Edges repeat their jitter after 2**18 clocks.
    """

    def __init__(self, period_ps: float, jitter_ps: float = 0.0, seed: int = 0) -> None:
        if period_ps <= 0:
            raise ValueError(f"period_ps is {period_ps!r}; allowed: above 0")
        if not 0 <= jitter_ps < period_ps / 10:
            raise ValueError(f"jitter_ps is {jitter_ps!r}; allowed: 0 to {period_ps / 10}")
        self.period_ps = period_ps
        self._jitter = np.random.default_rng(seed).normal(0, jitter_ps, _JITTER_TABLE)

    def at(self, clock: NDArray[np.int64]) -> NDArray[np.float64]:
        """Times in ps of these edges; edge 0 is at 0 but for its jitter."""
        return clock * self.period_ps + self._jitter[clock % _JITTER_TABLE]

    def first_after(self, time_ps: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of the first edge later than each time."""
        near = np.floor(time_ps / self.period_ps).astype(np.int64) - 1
        passed = [self.at(near + k) <= time_ps for k in range(3)]
        return near + np.sum(passed, axis=0)


@dataclass(frozen=True)
class DelayLineModel:
    """One line at one temperature.

    Parameters
    ----------
    delay_ps
        (n_taps,) float64: from the pin to the tap's flip-flop, its setup time included, at the
        reference temperature. A tap later than a higher one is a bubble.
    kelvin
        Above the reference temperature; all delays grow by 1.3 % in 15 K.
    """

    delay_ps: NDArray[np.float64]
    kelvin: float = 0.0

    @property
    def delay_now_ps(self) -> NDArray[np.float64]:
        """(n_taps,) delays at this temperature."""
        return self.delay_ps * (1 + DRIFT_PER_KELVIN * self.kelvin)

    def at(self, kelvin: float) -> DelayLineModel:
        """The same line, that much above the reference temperature."""
        return replace(self, kelvin=kelvin)


def made_up_line(
    seed: int,
    n_taps: int = 191,
    *,
    mean_ps: float = 33.0,
    odd_late_ps: float = 72.0,
    mismatch_ps: float = 8.0,
    tile_ps: float = 16.0,
    dead_share: float = 0.04,
    entry_ps: float = 1500.0,
) -> DelayLineModel:
    """A line with the faults that real ones have.

    Parameters
    ----------
    mean_ps
        Mean width of a tap.
    odd_late_ps
        How much later than its carry the second tap of a pair is than the first.
    mismatch_ps
        RMS of every tap's own error: flip-flop, wires.
    tile_ps
        What entering the next tile (every eight taps) costs beside a tap.
    dead_share
        Share of taps that change at the same moment as their neighbour: bins of no width.
    entry_ps
        From the pin to tap 0.
    """
    rng = np.random.default_rng(seed)
    tap = np.arange(n_taps)
    cell = tap + 1  # the launching cell is the first of the first tile
    step = mean_ps - tile_ps / 8
    delay = entry_ps + 2 * step * (cell // 2) + odd_late_ps * (cell % 2) + tile_ps * (cell // 8)
    delay += rng.normal(0, mismatch_ps, n_taps)
    dead = rng.random(n_taps) < dead_share
    dead[-2:] = False
    delay[:-2][dead[:-2]] = delay[2:][dead[:-2]]
    return DelayLineModel(delay)


def sample_line(
    line: DelayLineModel,
    arrival_ps: NDArray[np.float64],
    edge_ps: NDArray[np.float64],
    *,
    width_ps: float,
) -> NDArray[np.bool_]:
    """All taps at some clock edges.

    Parameters
    ----------
    arrival_ps
        (n,) rising edges at the pin.
    edge_ps
        (m,) sampling edges, ascending.
    width_ps
        How long every pulse stays high.

    Returns
    -------
    (m, n_taps) bool: tap passed, and the pulse's end not yet there.
    """
    taps = np.zeros((edge_ps.size, line.delay_ps.size), bool)
    delay = line.delay_now_ps
    begins = np.searchsorted(edge_ps, arrival_ps + delay.min())
    ends = np.searchsorted(edge_ps, arrival_ps + delay.max() + width_ps)
    for t, begin, end in zip(arrival_ps, begins, ends + 1, strict=True):
        since = edge_ps[begin:end, None] - t - delay
        taps[begin:end] |= (since > 0) & (since <= width_ps)
    return taps


def arrivals_to_codes(
    line: DelayLineModel, arrival_ps: NDArray[np.float64], edges: ClockEdges
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clock and code that a ones counter gives each of many lone pulses.

    The same as sampling the line at every edge and counting, without the samples: the clock is the
    first after tap 0, and a sum does not care about the order of the taps.

    Parameters
    ----------
    arrival_ps
        (n,) rising edges at the pin, far enough from each other.

    Returns
    -------
    clock
        (n,) number of the edge that caught the pulse.
    code
        (n,) taps not passed at that edge.
    """
    delay = line.delay_now_ps
    clock = edges.first_after(arrival_ps + delay[0])
    ones = np.searchsorted(np.sort(delay), edges.at(clock) - arrival_ps)
    return clock, delay.size - ones
