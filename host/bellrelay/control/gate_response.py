"""How a gated detector answers to its gate's delay: where its counts have a plateau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .pulse_search import nearest_turn

__all__ = ["GateResponse", "gate_response"]

_SIGMAS = 5.0
_LEVEL = 0.9


@dataclass(frozen=True)
class GateResponse:
    """A scan of the delay.

    Attributes
    ----------
    gated
        Whether counts depend on the gate at all: a detector that runs freely shows none.
    level, floor
        Counts on the plateau, and where the gate misses the light.
    rise_ps, fall_ps
        Delays at which counts cross the middle between both, upwards and downwards; the latter may
        be more than the period, where the plateau lies across it.
    centre_ps, sigma_centre_ps
        Middle of the plateau, 0 <= centre < period, and its standard error.
    """

    gated: bool
    level: float
    floor: float
    rise_ps: float = float("nan")
    fall_ps: float = float("nan")
    centre_ps: float = float("nan")
    sigma_centre_ps: float = float("nan")


def gate_response(
    delay_ps: ArrayLike, counts: ArrayLike, period_ps: float, near_ps: float = 0.0
) -> GateResponse:
    """Find the plateau of counts over the delay of the gate, which repeats with the slot.

    A gate that holds both pulses of a slot also holds the late one and the next slot's early one,
    and misses each once in between: that gives two plateaus.

    Parameters
    ----------
    delay_ps
        (n,) ascending, over one period, n >= 8.
    counts
        (n,) of equal times.
    near_ps
        Of several plateaus, that one is taken whose middle is nearest to this.

    Raises
    ------
    ValueError
        Too few points, or too many.
    """
    delay = np.asarray(delay_ps, np.float64)
    seen = np.asarray(counts, np.float64)
    n = len(delay)
    if n < 8 or seen.shape != delay.shape or np.any(np.diff(delay) <= 0.0):
        raise ValueError("a scan takes eight points at least, ascending, and counts of each")
    if delay[-1] - delay[0] >= period_ps:
        raise ValueError("the scan is longer than the slot")
    top = float(np.mean(np.sort(seen)[-max(2, n // 8) :]))
    low = float(np.mean(np.sort(seen)[: max(2, n // 8)]))
    # The extremes of n counts of one mean are apart by some deviations, too.
    if top - low < 2.0 * _SIGMAS * np.sqrt(max(top, 1.0)):
        return GateResponse(False, top, low)
    level = float(seen[seen >= low + _LEVEL * (top - low)].mean())
    middle = 0.5 * (level + low)
    above = seen >= middle
    nexts = np.roll(above, -1)
    rises, falls = np.flatnonzero(~above & nexts), np.flatnonzero(above & ~nexts)
    found = []
    for up in rises.tolist():
        # Going on from where it rises, the next fall is this plateau's.
        down = min(falls.tolist(), key=lambda at: (at - up) % n)
        rise, sigma_rise = _crossing(delay, seen, up, middle, period_ps)
        fall, sigma_fall = _crossing(delay, seen, down, middle, period_ps)
        if fall < rise:
            fall += period_ps
        centre = 0.5 * (rise + fall) % period_ps
        sigma = 0.5 * float(np.hypot(sigma_rise, sigma_fall))
        found.append(GateResponse(True, level, low, rise, fall, centre, sigma))
    return min(found, key=lambda one: abs(nearest_turn(one.centre_ps - near_ps, period_ps)))


def _crossing(
    delay: NDArray[np.float64],
    seen: NDArray[np.float64],
    at: int,
    middle: float,
    period_ps: float,
) -> tuple[float, float]:
    """Between two points by a straight line; its error is that of counting, and of the line."""
    then = (at + 1) % len(delay)
    step = (delay[then] - delay[at]) % period_ps
    rise = seen[then] - seen[at]
    share = (middle - seen[at]) / rise
    counting = np.sqrt(
        (1.0 - share) ** 2 * max(seen[at], 1.0) + share**2 * max(seen[then], 1.0)
    ) / abs(rise)
    # An edge may be anywhere between two points, if it is steep.
    error = step * float(np.hypot(counting, 1.0 / np.sqrt(12.0)))
    return float(delay[at] + share * step) % period_ps, error
