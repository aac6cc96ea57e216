"""Phase and rate of a clock against another: from a series of phases, and from bare tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .pulse_positions import TooFewCounts

__all__ = ["PhaseAndRate", "RateFromTags", "phase_and_rate", "rate_from_tags"]

Floats = NDArray[np.float64]

_ENOUGH = 30.0
"""Power, of a mean of one per harmonic without any light, that chance does not reach."""


@dataclass(frozen=True)
class PhaseAndRate:
    """A straight line through phases, with its covariance.

    phase_ps at `time_s`, where phase and rate are not correlated; rate_ps_per_s; standard errors.
    chi_square of the residuals, for `degrees` degrees of freedom.
    """

    time_s: float
    phase_ps: float
    rate_ps_per_s: float
    sigma_phase_ps: float
    sigma_rate_ps_per_s: float
    chi_square: float
    degrees: int

    def at(self, time_s: float) -> tuple[float, float]:
        """Phase at another time, and its standard error."""
        away = time_s - self.time_s
        sigma = math.hypot(self.sigma_phase_ps, away * self.sigma_rate_ps_per_s)
        return self.phase_ps + away * self.rate_ps_per_s, sigma


def phase_and_rate(time_s: ArrayLike, phase_ps: ArrayLike, sigma_ps: ArrayLike) -> PhaseAndRate:
    """Weighted least squares through phases that are unwrapped already.

    Parameters
    ----------
    time_s, phase_ps
        (n,) each, two different times at least.
    sigma_ps
        Standard errors of the phases, (n,) or one for all.

    Raises
    ------
    ValueError
        Fewer than two times, or an error that is not positive.
    """
    t = np.asarray(time_s, np.float64)
    phase = np.asarray(phase_ps, np.float64)
    sigma = np.broadcast_to(np.asarray(sigma_ps, np.float64), t.shape)
    if t.size < 2 or np.ptp(t) == 0.0 or np.any(sigma <= 0.0):
        raise ValueError("a rate takes two times at least, and errors above 0")
    weight = 1.0 / sigma**2
    middle = float(np.sum(weight * t) / weight.sum())
    away = t - middle
    spread = float(np.sum(weight * away**2))
    mean = float(np.sum(weight * phase) / weight.sum())
    rate = float(np.sum(weight * away * phase) / spread)
    chi_square = float(np.sum(weight * (phase - mean - rate * away) ** 2))
    return PhaseAndRate(
        middle,
        mean,
        rate,
        1.0 / math.sqrt(weight.sum()),
        1.0 / math.sqrt(spread),
        chi_square,
        t.size - 2,
    )


@dataclass(frozen=True)
class RateFromTags:
    """How much later the pulses come from slot to slot than they should.

    rate_ps_per_s, and its standard error from the sharpness of the maximum and of the pulses.
    power: of the maximum, 1 per harmonic on average where there is no light at all.
    """

    rate_ps_per_s: float
    sigma_ps_per_s: float
    power: float


def rate_from_tags(
    t_ps: NDArray[np.int64],
    period_ps: float,
    *,
    limit_ps_per_s: float,
    harmonics: Sequence[int] = (1, 2),
) -> RateFromTags:
    """Rate of the pulses against a clock whose slots would hold them still, by periodogram.

    For a link that has no sync channel and whose clocks differ by so much that a histogram is a
    blur. Pulses half a slot apart have no first harmonic, hence the second.

    Parameters
    ----------
    t_ps
        (n,) int64, tags in order on the clock that is to be trimmed, of some milliseconds: the span
        must be so short that the rate itself does not change.
    period_ps
        The slot as that clock counts it.
    limit_ps_per_s
        Rates up to this are searched; 1e6 are one part per million.

    Raises
    ------
    TooFewCounts
        No rate stands out.
    """
    t = np.asarray(t_ps, np.int64)
    if t.size < 20:
        raise TooFewCounts(f"{t.size} tags")
    since = (t - t[0]).astype(np.float64)
    place = since % period_ps / period_ps
    highest = max(harmonics)
    # Short spans first: their maximum is broad, and leads to that of the whole.
    centre, half = 0.0, limit_ps_per_s
    span_all = float(since[-1]) * 1e-12
    span = min(span_all, 2.0 * period_ps / (highest * limit_ps_per_s) * 50.0)
    while True:
        use = since <= span * 1e12
        seconds = since[use] * 1e-12
        resolution = period_ps / (highest * span)
        steps = max(3, math.ceil(half / (0.2 * resolution)))
        grid = centre + np.linspace(-half, half, 2 * steps + 1)
        power = _power(place[use], seconds, grid, period_ps, harmonics)
        best = int(np.argmax(power))
        if power[best] < _ENOUGH and span < span_all:
            span = min(4.0 * span, span_all)
            if half / (0.2 * period_ps / (highest * span)) > 20_000:
                raise TooFewCounts("no rate stands out of the tags")
            continue
        if power[best] < _ENOUGH:
            raise TooFewCounts("no rate stands out of the tags")
        centre, sharpness = _peak(grid, power, best)
        if span >= span_all:
            # Phasors of short pulses scatter less than those of chance: by 1 - R**4 in variance,
            # with R their mean length (circular statistics, pulses of Gaussian shape).
            length = min(float(power[best]) / float(np.count_nonzero(use)), 0.999)
            sigma = sharpness * math.sqrt(1.0 - length**2)
            return RateFromTags(centre, sigma, float(power[best]))
        half = 2.0 * resolution
        span = min(4.0 * span, span_all)


def _power(
    place: Floats, seconds: Floats, grid: Floats, period_ps: float, harmonics: Sequence[int]
) -> Floats:
    """Sum over harmonics of |sum of phasors|^2 / n, for every rate of the grid."""
    out = np.empty(len(grid))
    for i, rate in enumerate(grid):
        turns = place - seconds * (rate / period_ps)
        total = 0.0
        for harmonic in harmonics:
            total += abs(np.exp(2j * np.pi * harmonic * turns).sum()) ** 2
        out[i] = total / len(place)
    return out


def _peak(grid: Floats, power: Floats, best: int) -> tuple[float, float]:
    """Maximum of a parabola through three points, and the error of phasors at random around it."""
    step = float(grid[1] - grid[0])
    inner = min(max(best, 1), len(grid) - 2)
    low, top, high = power[inner - 1 : inner + 2]
    bend = low - 2.0 * top + high
    if bend >= 0.0:
        return float(grid[best]), step
    offset = 0.5 * (low - high) / bend
    # The power is twice a logarithm of likelihood over the signal's share.
    return float(grid[inner] + offset * step), step / math.sqrt(-bend)
