"""Dark counts of a detector while the light pulses: clicks between pulses, long after any other.

Between pulses come dark counts and afterpulses, and the latter are more. Only times are looked at
in which the detector has not clicked for so long that no trap is still full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

__all__ = ["QuietCounts", "poisson_interval", "quiet_counts"]


@dataclass(frozen=True)
class QuietCounts:
    """Clicks in quiet times, and how long these were in all.

    low_hz, high_hz : the central confidence interval of the rate (exact, of Garwood).
    """

    counts: int
    seconds: float
    rate_hz: float
    low_hz: float
    high_hz: float


def poisson_interval(counts: int, confidence: float = 0.95) -> tuple[float, float]:
    """Means for which so many counts are not too many, and not too few.

    F. Garwood, Biometrika 28, 437 (1936): each side fails with half of the rest.
    """
    if counts < 0 or not 0.0 < confidence < 1.0:
        raise ValueError("counts must not be negative, the confidence between 0 and 1")
    side = (1.0 - confidence) / 2.0
    low = float(gammaincinv(counts, side)) if counts else 0.0
    return low, float(gammaincinv(counts + 1, 1.0 - side))


def quiet_counts(
    t: NDArray[np.int64],
    position_ps: NDArray[np.integer],
    span_ps: tuple[int, int],
    *,
    quiet_ps: float,
    period_ps: int,
    lit_ps: Sequence[tuple[float, float]] = (),
    hole_ps: float = math.inf,
    confidence: float = 0.95,
) -> QuietCounts:
    """Count clicks between pulses that come `quiet_ps` or more after the click before.

    Parameters
    ----------
    t
        (n,) int64 ps, ascending: raw clicks of one detector.
    position_ps
        (n,) their places in the slot, which may begin anywhere.
    span_ps
        Begin and end of the recording.
    quiet_ps
        Many times what traps live, and more than the dead time.
    lit_ps
        [begin, end) in the slot, 0 <= begin < end <= period, in which pulses arrive; apart from
        each other. None: the light is off.
    hole_ps
        Times without a click that are longer belong to tags that were lost: they count for nothing.

    Raises
    ------
    ValueError
        No such quiet time was there.
    """
    position = np.asarray(position_ps, np.float64)
    dark = np.ones(len(t), np.bool_)
    for begin, end in lit_ps:
        dark &= ~((begin <= position) & (position < end))
    # Of the time before the first click only what is surely quiet.
    before = np.concatenate(([span_ps[0]], t[:-1])) if len(t) else t
    quiet = (t - before >= quiet_ps) & (t - before <= hole_ps)
    counts = int(np.count_nonzero(quiet & dark))
    # In the slot's own terms: from quiet_ps after a click up to the next one, whether it counts
    # or not, and the pulses taken out of that exactly.
    at = position[quiet]
    lengths = (t - before)[quiet] - float(quiet_ps)
    total = float(np.sum(lengths - _lit(at - lengths, at, lit_ps, period_ps)))
    if len(t) == 0:
        share = sum(end - begin for begin, end in lit_ps) / period_ps
        total = float(span_ps[1] - span_ps[0]) * (1.0 - share)
    elif quiet_ps < span_ps[1] - t[-1] <= hole_ps:
        rest = np.array([span_ps[1] - t[-1] - quiet_ps], np.float64)
        first = position[-1:] + quiet_ps
        total += float((rest - _lit(first, first + rest, lit_ps, period_ps))[0])
    if total <= 0.0:
        raise ValueError(
            f"the detector was never quiet for {quiet_ps * 1e-3:g} ns: it clicks too often"
        )
    seconds = total * 1e-12
    low, high = poisson_interval(counts, confidence)
    return QuietCounts(counts, seconds, counts / seconds, low / seconds, high / seconds)


def _lit(
    begin: NDArray[np.float64],
    end: NDArray[np.float64],
    lit_ps: Sequence[tuple[float, float]],
    period_ps: float,
) -> NDArray[np.float64]:
    """How much of each [begin, end), in terms of the slot, pulses take."""
    if not lit_ps:
        return np.zeros(len(begin))
    knots = [0.0]
    lit = [0.0]
    for first, last in sorted(lit_ps):
        knots += [first, last]
        lit += [lit[-1], lit[-1] + last - first]
    knots.append(period_ps)
    lit.append(lit[-1])

    def until(x: NDArray[np.float64]) -> NDArray[np.float64]:
        turns = np.floor(x / period_ps)
        return np.asarray(turns * lit[-1] + np.interp(x - turns * period_ps, knots, lit))

    return until(end) - until(begin)
