"""Dead time and afterpulses of a detector, from the times between its clicks.

A click is followed by the next one after a time x with the hazard

    h(x) = Phi((x - D) / s) [g(x) + (p / tau) e^(-x / tau)],

where D is the dead time, s the width of its edge (the jitter of two clicks), g what the light and
the dark counts do, and the last term a trapped carrier that frees itself (exponential in time; S.
Cova, A. Lacaita, G. Ripamonti, IEEE Electron Device Lett. 12, 685 (1991)). Slots know nothing of
one another, so that g repeats with the slot's period; it is taken from times long after the traps
are empty. Hazards, not a histogram: they do not fall where the light is bright.

Where the edge lies within a pulse, `s` and the pulse's own width are told apart by nothing here:
the dead time is then off by up to half of its distance from the pulse's middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["ClickIntervals", "DeadTimeFit", "TooFewClicks", "click_intervals", "fit_dead_time"]

Floats = NDArray[np.float64]

_LEAST = 2000
"""Intervals in the far part, below which nothing is fitted."""
_EDGE_SIGMAS_PS = np.geomspace(10.0, 640.0, 25)
_REST = 1e-3
"""Share of the hazard that is left to clicks within the dead time: a stray one must not decide."""
_RARE = 30.0
"""Counts below which phases of the slot are taken together."""
_NEWTON = 60


class TooFewClicks(ValueError):
    """The clicks do not show what was looked for; the message says why."""


@dataclass(frozen=True)
class ClickIntervals:
    """Times from a click to the next one, binned.

    Attributes
    ----------
    counts
        (n,) int64: intervals that end in the bin.
    survivors
        (n,) float64: intervals that last to the bin's middle, without those cut by its beginning.
    bin_ps
        Width of a bin; the first begins at 0.
    clicks_per_s
        Mean.
    """

    counts: NDArray[np.int64]
    survivors: Floats
    bin_ps: float
    clicks_per_s: float

    @property
    def middles_ps(self) -> Floats:
        """(n,) float64."""
        return np.asarray((np.arange(len(self.counts)) + 0.5) * self.bin_ps)


@dataclass(frozen=True)
class DeadTimeFit:
    """What the intervals say.

    Attributes
    ----------
    dead_time_ps, sigma_dead_time_ps
        Mean and standard deviation over what is likely: where no pulse ends the dead time, and no
        other click does, it lies anywhere between two pulses.
    edge_ps
        Standard deviation of the edge.
    afterpulse, sigma_afterpulse
        Probability that a click has an afterpulse after the dead time.
    trap, sigma_trap
        The same with those that the dead time hides: probability that a click leaves a carrier.
    tau_ps, sigma_tau_ps
        Mean time for which it is trapped; nan where there is no afterpulse to be seen.
    expected
        (n,) float64: counts by the fit, for pictures.
    """

    dead_time_ps: float
    sigma_dead_time_ps: float
    edge_ps: float
    afterpulse: float
    sigma_afterpulse: float
    trap: float
    sigma_trap: float
    tau_ps: float
    sigma_tau_ps: float
    expected: Floats


def click_intervals(
    t: NDArray[np.int64], seconds: float, *, reach_ps: float = 2e6, bin_ps: float = 50.0
) -> ClickIntervals:
    """Times between clicks of one detector.

    Parameters
    ----------
    t
        (n,) int64 ps, ascending, before any stage that suppresses clicks.
    seconds
        Of the recording.
    reach_ps
        Longer ones are not looked at.

    Raises
    ------
    ValueError
        A recording of no time.
    """
    if seconds <= 0.0:
        raise ValueError("a recording of no time")
    edges = np.arange(round(reach_ps / bin_ps) + 1) * bin_ps
    gaps = np.diff(np.sort(t)).astype(np.float64)
    counts = np.histogram(gaps, edges)[0].astype(np.int64)
    lasting = len(gaps) - np.concatenate(([0], np.cumsum(counts)[:-1]))
    return ClickIntervals(counts, lasting - 0.5 * counts, bin_ps, len(t) / seconds)


def fit_dead_time(intervals: ClickIntervals, period_ps: float) -> DeadTimeFit:
    """Dead time, and what traps do: maximum likelihood, counts in bins are Poisson.

    Parameters
    ----------
    period_ps
        Of the slots; 0 for light that does not pulse.

    Raises
    ------
    TooFewClicks
        Too few, or a dead time, or traps, that reach into the far half of the intervals.
    """
    n = intervals.counts.astype(np.float64)
    alive = np.maximum(intervals.survivors, 1e-9)
    x = intervals.middles_ps
    far = len(x) // 2
    if n[far:].sum() < _LEAST:
        raise TooFewClicks(
            f"{n[far:].sum():.0f} intervals of {x[far] * 1e-3:.0f} to {x[-1] * 1e-3:.0f} ns; "
            f"{_LEAST} are needed: more light, or a longer time"
        )
    light = _template(n, alive, far, intervals.bin_ps, period_ps)
    begin = _first_look(n, alive, light)
    if begin >= far // 2:
        raise TooFewClicks(f"the dead time is no shorter than {x[begin] * 1e-3:.0f} ns")
    first = min(begin + round(2000.0 / intervals.bin_ps), far)
    # A gap between pulses has no edge at its beginning: traps are fitted behind it.
    near = slice(first, far)
    tail = _Tail(n[near], alive[near], light[near], x[near], n[far:].sum())
    tail.fit()
    if tail.seen and 5.0 * tail.tau > x[far]:
        raise TooFewClicks(
            f"carriers are trapped for {tail.tau * 1e-3:.0f} ns: too long for intervals of "
            f"{x[-1] * 1e-3:.0f} ns"
        )
    hazard = tail.scale * light
    if tail.seen:
        hazard = hazard + tail.amplitude * np.exp(-(x - x[first]) / tail.tau)
    mean, sigma, edge = _edge(n, alive * hazard, x, x[begin], period_ps)
    expected = alive * hazard * np.maximum(ndtr((x - mean) / edge), _REST)
    return DeadTimeFit(mean, sigma, edge, *tail.probabilities(mean, x[first], intervals), expected)


def _template(n: Floats, alive: Floats, far: int, bin_ps: float, period_ps: float) -> Floats:
    """What light and dark counts do, from the far part, for all bins."""
    if period_ps <= 0.0:
        return np.full(len(n), n[far:].sum() / alive[far:].sum())
    # Running sums can be read between bins: the period need be no number of them.
    edges = np.arange(len(n) + 1) * bin_ps
    begin, end = edges[far], edges[-1]
    turns = math.floor((end - begin - bin_ps) / period_ps)
    if turns < 1:
        raise TooFewClicks(f"intervals of {end * 1e-3:.0f} ns hold too few slots")
    phase = begin + np.mod(edges[:-1] - begin, period_ps)
    at = phase + np.arange(turns)[:, None] * period_ps
    sums = []
    for values in (n, alive):
        total = np.concatenate(([0.0], np.cumsum(values)))
        sums.append((np.interp(at + bin_ps, edges, total) - np.interp(at, edges, total)).sum(0))
    counts, alive_then = sums
    # Between pulses there is hardly a count, and its noise would pass for afterpulses.
    rare = counts < _RARE
    if rare.any():
        counts[rare], alive_then[rare] = counts[rare].sum(), alive_then[rare].sum()
    return np.asarray(counts / alive_then)


def _first_look(n: Floats, alive: Floats, light: Floats) -> int:
    """The bin in which the dead time most likely ends, traps aside."""
    mean = alive * (light + 0.02 * light.mean())
    after = n * np.log(mean) - mean
    before = n * np.log(_REST * mean) - _REST * mean
    score = np.concatenate(([0.0], np.cumsum(before))) + np.concatenate(
        (np.cumsum(after[::-1])[::-1], [0.0])
    )
    return int(np.argmax(score))


class _Tail:
    """Scale of the light, amplitude and lifetime of the traps: Fisher scoring."""

    def __init__(
        self, n: Floats, alive: Floats, light: Floats, x: Floats, far_counts: float
    ) -> None:
        self._bin = x[1] - x[0]
        self._longest = x[-1] - x[0]
        # The light's own counts, of which its shape was taken, hold its scale at 1 by one bin more.
        self._n = np.append(n, far_counts)
        self._alive = np.append(alive, far_counts)
        self._light = np.append(light, 1.0)
        self._x = np.append(x - x[0], 1e3 * self._longest)
        self.scale, self.amplitude, self.tau = 1.0, 0.0, math.nan
        self._covariance = np.zeros((3, 3))
        self.seen = False

    def fit(self) -> None:
        best = None
        none = self._likelihood(np.array([self._scale_alone(), 0.0, 1.0]))
        for tau in np.geomspace(max(5e3, 4 * self._bin), 0.3 * self._longest, 7):
            theta = self._search(tau)
            if theta is not None:
                score = self._likelihood(theta)
                if best is None or score > best[0]:
                    best = score, theta
        if best is None or best[0] < none + 4.5 or best[1][1] <= 0.0:
            # Three standard deviations are not there: no afterpulses, and an error for that.
            self.scale = self._scale_alone()
            self._covariance = self._information_inverse(np.array([self.scale, 0.0, 5e4]))
            return
        self.scale, self.amplitude, self.tau = map(float, best[1])
        self._covariance = self._information_inverse(best[1])
        self.seen = True

    def probabilities(
        self, dead_ps: float, origin_ps: float, intervals: ClickIntervals
    ) -> tuple[float, float, float, float, float, float]:
        """Afterpulse, trap, tau, each with its error."""
        tau = self.tau if self.seen else 5e4
        # From the end of the dead time, and from the click on.
        factors = [
            tau / self._bin * math.exp((origin_ps - begin) / tau) for begin in (dead_ps, 0.0)
        ]
        # Carriers of clicks before this one free themselves, too.
        rate = intervals.clicks_per_s * 1e-12
        older = 1.0 + rate * tau * math.exp(-dead_ps / tau)
        out: list[float] = []
        for begin, factor in zip((dead_ps, 0.0), factors, strict=True):
            value = self.amplitude * factor / older
            slope = np.array(
                [0.0, factor, self.amplitude * factor * (1.0 - (origin_ps - begin) / tau) / tau]
            )
            out += [value, math.sqrt(max(slope @ self._covariance @ slope, 0.0)) / older]
        if not self.seen:
            return out[0], out[1], out[2], out[3], math.nan, math.nan
        return (*out, self.tau, math.sqrt(max(self._covariance[2, 2], 0.0)))  # type: ignore[return-value]

    def _scale_alone(self) -> float:
        return float(self._n.sum() / max((self._alive * self._light).sum(), 1e-300))

    def _mean(self, theta: Floats) -> tuple[Floats, Floats]:
        decay = np.exp(-self._x / theta[2])
        mean = self._alive * (theta[0] * self._light + theta[1] * decay)
        return np.maximum(mean, 1e-12), decay

    def _likelihood(self, theta: Floats) -> float:
        mean, _ = self._mean(theta)
        return float(np.sum(self._n * np.log(mean) - mean))

    def _slopes(self, theta: Floats, decay: Floats) -> Floats:
        return np.stack(
            (
                self._alive * self._light,
                self._alive * decay,
                self._alive * theta[1] * decay * self._x / theta[2] ** 2,
            ),
            axis=1,
        )

    def _information_inverse(self, theta: Floats) -> Floats:
        mean, decay = self._mean(theta)
        slopes = self._slopes(theta, decay)
        free = 3 if theta[1] > 0.0 else 2
        inverse = np.zeros((3, 3))
        information = (slopes[:, :free] / mean[:, None]).T @ slopes[:, :free]
        unit = np.sqrt(np.maximum(np.diag(information), 1e-300))
        scaled = np.linalg.pinv(information / np.outer(unit, unit))
        inverse[:free, :free] = scaled / np.outer(unit, unit)
        return inverse

    def _search(self, tau: float) -> Floats | None:
        theta = np.array([self._scale_alone(), 0.1 * float(self._light.mean()), tau])
        for _ in range(_NEWTON):
            mean, decay = self._mean(theta)
            slopes = self._slopes(theta, decay)
            weighted = slopes / mean[:, None]
            try:
                step = np.linalg.solve(weighted.T @ slopes, weighted.T @ (self._n - mean))
            except np.linalg.LinAlgError:
                return None
            step[1] = np.clip(step[1], -0.7 * theta[1], 4.0 * theta[1])
            step[2] = np.clip(step[2], -0.3 * theta[2], 0.4 * theta[2])
            theta = theta + step
            if not np.all(np.isfinite(theta)) or theta[2] > self._longest or theta[2] < self._bin:
                return None
            if np.all(np.abs(step) <= 1e-4 * np.abs(theta)):
                break
        return theta


def _edge(
    n: Floats, mean: Floats, x: Floats, begin_ps: float, period_ps: float
) -> tuple[float, float, float]:
    """Dead time, its standard deviation, and the width of the edge."""
    reach = period_ps if 0.0 < period_ps <= 20e3 else 5e3
    bin_ps = x[1] - x[0]
    spread = 4.0 * _EDGE_SIGMAS_PS[-1]
    near = np.abs(x - begin_ps) <= reach + spread
    n, mean, x = n[near], np.maximum(mean[near], 1e-12), x[near]

    def likelihood(dead: Floats) -> Floats:
        out = np.empty((len(_EDGE_SIGMAS_PS), len(dead)))
        for row, s in enumerate(_EDGE_SIGMAS_PS):
            open_ = np.maximum(ndtr((x[None, :] - dead[:, None]) / s), _REST)
            out[row] = np.log(open_) @ n - open_ @ mean
        return out

    step = max(bin_ps / 2.0, 10.0)
    dead = np.arange(max(begin_ps - reach, 0.0), begin_ps + reach, step)
    profile = np.max(likelihood(dead), axis=0)
    likely = dead[profile >= profile.max() - 8.0]
    if likely[-1] - likely[0] < 60 * step:
        dead = np.arange(max(likely[0] - 2 * step, 0.0), likely[-1] + 2 * step, step / 10.0)
    # Every width of the edge is as good as another before (by its logarithm).
    all_of = likelihood(dead)
    weight = np.exp(all_of - all_of.max())
    weight /= weight.sum()
    by_dead, by_width = weight.sum(axis=0), weight.sum(axis=1)
    mean_ps = float(by_dead @ dead)
    sigma = math.sqrt(max(float(by_dead @ (dead - mean_ps) ** 2), (dead[1] - dead[0]) ** 2 / 12.0))
    return mean_ps, sigma, float(np.exp(by_width @ np.log(_EDGE_SIGMAS_PS)))
