"""Which light came when: the delays of both sources, told apart by what one of them sent.

At the relay the pulses of both sources lie on top of each other. Whoever knows in which slots a
source sent strong light, weak light and none can tell them apart: clicks go with the intensity of
the one, and not with that of the other, whose choices are independent of it.

Only clicks of the public tracking slots may come in here, which make no key
(:mod:`bellrelay.endpoint.tracking_source`); only settings are used, no bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .pulse_positions import TooFewCounts
from .pulse_shape import PulseShape

__all__ = ["SentClicks", "SourceDelays", "coarse_delays", "source_delays", "tabulate_clicks"]

Floats = NDArray[np.float64]

_STEPS = 60
_DONE = 1e-2
_STRAY = 1e-3
"""Share of the light that may lie anywhere: a click far out must not pull at the pulses."""
_OVERSHOOT = 8
"""Steps after which they are halved: they go to and fro."""
_FEWEST = 50


@dataclass(frozen=True)
class SentClicks:
    """Clicks in tracking slots, by what was sent there.

    Attributes
    ----------
    counts
        (settings, bins) int64: clicks by setting and place in the slot.
    slots
        (settings,) int64: slots in which each was sent, with a click or without.
    bin_ps, period_ps
        Widths of a bin and of a slot.
    """

    counts: NDArray[np.int64] = field(repr=False)
    slots: NDArray[np.int64] = field(repr=False)
    bin_ps: int = 16
    period_ps: int = 10_000

    def __add__(self, other: SentClicks) -> SentClicks:
        """Of both; ValueError if they do not have the same bins."""
        if (self.bin_ps, self.period_ps) != (other.bin_ps, other.period_ps):
            raise ValueError("clicks in other bins cannot be added")
        return SentClicks(
            self.counts + other.counts, self.slots + other.slots, self.bin_ps, self.period_ps
        )


@dataclass(frozen=True)
class SourceDelays:
    """Where the light of the source that is known, and of the other one, lies in the slot.

    own_ps, other_ps: from where it belongs, positive is late. apart_ps: own less other, in which
    whatever shifts both is gone. sigma_*: standard errors, the Cramér-Rao bound. own_clicks,
    other_clicks: expected clicks of each in a slot in which it sends its mean intensity.
    """

    own_ps: float
    sigma_own_ps: float
    other_ps: float
    sigma_other_ps: float
    apart_ps: float
    sigma_apart_ps: float
    own_clicks: float
    other_clicks: float


def tabulate_clicks(
    position_ps: NDArray[np.int64],
    setting: NDArray[np.uint8],
    slots_by_setting: NDArray[np.int64],
    *,
    bin_ps: int,
    period_ps: int,
) -> SentClicks:
    """Count clicks by the setting sent in their slots and by their place.

    Parameters
    ----------
    position_ps, setting
        (n,) each: place in the slot, and what was sent in the slot. Places outside the slot are
        passed over.
    slots_by_setting
        (settings,): slots in which each was sent.
    """
    n_bins = -(-period_ps // bin_ps)
    place = np.asarray(position_ps, np.int64)
    inside = (place >= 0) & (place < period_ps)
    flat = setting[inside].astype(np.int64) * n_bins + place[inside] // bin_ps
    n = len(slots_by_setting)
    counts = np.bincount(flat, minlength=n * n_bins).reshape(n, n_bins)
    return SentClicks(counts, np.asarray(slots_by_setting, np.int64), bin_ps, period_ps)


def coarse_delays(
    clicks: SentClicks, intensities: Floats, *, centres_ps: Sequence[float], width_ps: float
) -> tuple[float, float]:
    """Delays of this and of the other source to start from, within half of what repeats.

    Where the pulses fit best: of this source to the part of the clicks that goes with its
    intensity, of the other to the rest. Two pulses half a slot apart repeat every half slot.
    """
    slots = clicks.slots.astype(np.float64)
    sent = slots > 0
    rate = clicks.counts[sent] / slots[sent, None]
    strength, weight = np.asarray(intensities, np.float64)[sent], slots[sent]
    middle = float(weight @ strength / weight.sum())
    deviation = weight * (strength - middle)
    slope = deviation @ rate / max(float(deviation @ strength), 1e-300)
    rest = weight @ rate / weight.sum() - slope * middle
    n = rate.shape[1]
    shape = PulseShape(n, clicks.bin_ps, clicks.period_ps)
    template = np.sum([shape.at(c, width_ps)[0] for c in centres_ps], axis=0)
    turned = np.conj(np.fft.rfft(template))
    reach = int(clicks.period_ps / (2 * len(centres_ps)) / clicks.bin_ps)
    steps = np.arange(-reach, reach)

    def best(profile: Floats) -> float:
        fit = np.fft.irfft(np.fft.rfft(profile) * turned, n)
        return float(steps[np.argmax(fit[steps])] * clicks.bin_ps)

    return best(slope), best(rest)


def source_delays(
    clicks: SentClicks,
    intensities: Floats,
    *,
    centres_ps: Sequence[float],
    width_ps: float,
    background_per_slot_bin: float = 0.0,
    start_ps: tuple[float, float] = (0.0, 0.0),
) -> SourceDelays:
    """Delays of both sources, by maximum likelihood.

    A slot with setting c has on average, in a bin i of the slot,
    ``own w_c g_i(d_own) + other g_i(d_other) + background`` clicks, with w_c the intensity over its
    mean and g the pulses of the slot, early and late. Interference between the sources averages
    out over their random phases. Own and other, both delays, and the share of the late pulse (dead
    times after early clicks lower it) are free.

    Parameters
    ----------
    intensities
        (settings,) mean photon numbers sent.
    centres_ps
        Where the pulses belong, one or two.
    width_ps
        Standard deviation of arrival times.
    background_per_slot_bin
        Known mean of clicks of neither per slot and bin, all detectors together.
    start_ps
        Where the search begins: right within about two widths (:func:`coarse_delays`).

    Raises
    ------
    TooFewCounts
        Too few clicks, or settings that do not tell the sources apart.
    """
    observed = clicks.counts.astype(np.float64)
    slots = clicks.slots.astype(np.float64)
    strength = np.asarray(intensities, np.float64)
    if observed.sum() < _FEWEST or slots.sum() <= 0.0:
        raise TooFewCounts(f"{observed.sum():.0f} clicks in tracking slots")
    strength = strength / (np.sum(strength * slots) / slots.sum())
    known = slots > 0
    observed, slots, strength = observed[known], slots[known], strength[known]
    shape = PulseShape(observed.shape[1], clicks.bin_ps, clicks.period_ps)
    per_slot = float(observed.sum() / slots.sum())
    floor = max(background_per_slot_bin, _STRAY * per_slot / observed.shape[1])
    # own, other: clicks per slot in the first pulse; ratio: second pulse over first.
    n = len(centres_ps)
    theta = np.array([per_slot / (2 * n), per_slot / (2 * n), *start_ps, 1.0])
    theta[2:4] = _nearer(observed, strength, shape, centres_ps, width_ps, start_ps)
    free = 5 if n > 1 else 4
    for turn in range(_STEPS):
        own, other, ratio = theta[0], theta[1], theta[4]
        (first_own, late_own), slope_own = _pulses(shape, centres_ps, theta[2], width_ps, ratio)
        (first_other, late_other), slope_other = _pulses(
            shape, centres_ps, theta[3], width_ps, ratio
        )
        weight = (slots * strength)[:, None]
        plain = slots[:, None]
        mean = own * weight * first_own + other * plain * first_other + floor * plain
        columns = [
            weight * first_own,
            plain * first_other,
            own * weight * slope_own,
            other * plain * slope_other,
            own * weight * late_own + other * plain * late_other,
        ][:free]
        slope = np.stack([c.ravel() for c in columns], axis=1)
        flat = mean.ravel()
        weighted = slope / flat[:, None]
        try:
            covariance = np.linalg.inv(weighted.T @ slope)
        except np.linalg.LinAlgError:
            raise TooFewCounts("the settings do not tell the sources apart") from None
        step = covariance @ (weighted.T @ (observed.ravel() - flat))
        limit = np.array([0.5 * own, 0.5 * other, width_ps / 2, width_ps / 2, 0.5 * ratio])[:free]
        step = np.clip(step, -limit, limit) * (1.0 if turn < _OVERSHOOT else 0.5)
        theta[:free] += step
        errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        if np.all(np.abs(step) <= _DONE * np.maximum(errors, 1e-15)):
            break
    else:
        raise TooFewCounts("the delays of the sources do not converge")
    pulses = 1.0 + theta[4] if n > 1 else 1.0
    if not all(math.isfinite(e) and e > 0.0 for e in errors[2:4]):
        raise TooFewCounts("the settings do not tell the sources apart")
    apart = covariance[2, 2] + covariance[3, 3] - 2.0 * covariance[2, 3]
    return SourceDelays(
        own_ps=float(theta[2]),
        sigma_own_ps=float(errors[2]),
        other_ps=float(theta[3]),
        sigma_other_ps=float(errors[3]),
        apart_ps=float(theta[2] - theta[3]),
        sigma_apart_ps=math.sqrt(apart),
        own_clicks=float(theta[0] * pulses),
        other_clicks=float(theta[1] * pulses),
    )


def _pulses(
    shape: PulseShape, centres_ps: Sequence[float], delay_ps: float, width_ps: float, ratio: float
) -> tuple[tuple[Floats, Floats], Floats]:
    """Light of a slot by bin, that of its second pulse at full height, and the slope by delay."""
    share, slope, _ = shape.at(centres_ps[0] + delay_ps, width_ps)
    late = np.zeros_like(share)
    if len(centres_ps) > 1:
        late, late_slope, _ = shape.at(centres_ps[1] + delay_ps, width_ps)
        share, slope = share + ratio * late, slope + ratio * late_slope
    return (share, late), slope


def _nearer(
    observed: Floats,
    strength: Floats,
    shape: PulseShape,
    centres_ps: Sequence[float],
    width_ps: float,
    start_ps: tuple[float, float],
) -> tuple[float, float]:
    """Move the start to where the strongest slots, and the weakest, have their clicks."""
    reach = min(3.0 * width_ps, 0.25 * shape.period_ps / len(centres_ps))
    middle = 0.5 * (shape.edges_ps[:-1] + shape.edges_ps[1:])

    def moved(row: Floats, start: float) -> float:
        for _ in range(3):
            total = offset = 0.0
            for centre in centres_ps:
                away = (middle - centre - start + shape.period_ps / 2) % shape.period_ps
                away = away - shape.period_ps / 2
                near = np.abs(away) <= reach
                total += float(row[near].sum())
                offset += float((row * away)[near].sum())
            if total < 10.0:
                return start
            start += offset / total
        return start

    strong, weak = int(np.argmax(strength)), int(np.argmin(strength))
    return moved(observed[strong], start_ps[0]), moved(observed[weak], start_ps[1])
