"""How well calibrated delay lines tell times: errors of a channel, of pairs, losses of windows.

Calibration here is the gateware's arithmetic, bit for bit: the times of
:func:`bellrelay.tags.linearity.code_times_ps` and the rounded mean of
:class:`bellrelay_gateware.skew.SkewMeter`, on pulses of a free-running oscillator; lines are those
of :mod:`bellrelay_sim.tapped_line`. All figures are simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.linearity import code_times_ps

from .tapped_line import ClockEdges, DelayLineModel, arrivals_to_codes

__all__ = ["Calibration", "TimingErrors", "calibrate", "timing_errors"]

_OSCILLATOR_PS = 51_612.9  # 310 MHz over 16
_OSCILLATOR_JITTER_PS = 60.0  # of one period


@dataclass(frozen=True)
class Calibration:
    """What the gateware would hold.

    Parameters
    ----------
    counts, times_ps
        (n_channels, 256) int64 by fine code.
    skew_ps
        (n_channels,) int64, to be taken away from each channel's times.
    """

    counts: NDArray[np.int64]
    times_ps: NDArray[np.int64]
    skew_ps: NDArray[np.int64]


@dataclass(frozen=True)
class TimingErrors:
    """Errors of told times against true ones.

    Parameters
    ----------
    single_rms_ps
        (n_channels,) RMS about each channel's mean: a constant is what deskew takes away.
    pair_rms_ps
        Worst pair of channels: RMS of the difference of two channels that see the same arrival,
        after deskew. No mean is taken away here.
    lost_share
        Worst pair: share of true pairs outside a coincidence window of this width.
    offset_ps
        (n_channels,) mean error after deskew.
    """

    single_rms_ps: NDArray[np.float64]
    pair_rms_ps: float
    lost_share: float
    offset_ps: NDArray[np.float64]


def _edges(n: int, period_ps: int, jitter_ps: float, seed: int) -> list[ClockEdges]:
    """A clock per channel: jitter that lines share in truth is taken as independent."""
    return [ClockEdges(period_ps, jitter_ps, seed + k) for k in range(n)]


def calibrate(
    lines: Sequence[DelayLineModel],
    *,
    period_ps: int = 5000,
    jitter_ps: float = 10.0,
    samples_log2: int = 20,
    pulses_log2: int = 12,
    seed: int = 0,
) -> Calibration:
    """One run over all channels and one measurement of skew, at the lines' temperature.

    Parameters
    ----------
    lines
        Up to 255 taps each.
    samples_log2, pulses_log2
        As in the gateware's calibrator.
    """
    rng = np.random.default_rng(seed)
    edges = _edges(len(lines), period_ps, jitter_ps, seed + 1)

    def pulses(n: int) -> NDArray[np.float64]:
        return np.cumsum(rng.normal(_OSCILLATOR_PS, _OSCILLATOR_JITTER_PS, n))

    counts = np.stack(
        [
            np.bincount(arrivals_to_codes(line, pulses(1 << samples_log2), e)[1], minlength=256)
            for line, e in zip(lines, edges, strict=True)
        ]
    )
    times = np.stack([code_times_ps(own, period_ps) for own in counts])
    common = pulses(1 << pulses_log2)
    told = []
    for line, own, e in zip(lines, times, edges, strict=True):
        clock, code = arrivals_to_codes(line, common, e)
        told.append(clock * period_ps + own[code])
    half = 1 << (pulses_log2 - 1)
    skew = [((t - told[0]).sum() + half) >> pulses_log2 for t in told]
    return Calibration(counts, times, np.array(skew, np.int64))


def timing_errors(
    lines: Sequence[DelayLineModel],
    calibration: Calibration,
    *,
    period_ps: int = 5000,
    jitter_ps: float = 10.0,
    window_ps: int = 500,
    n: int = 1 << 20,
    seed: int = 1000,
) -> TimingErrors:
    """Times of arrivals that all channels see at once, at the lines' temperature now.

    Parameters
    ----------
    window_ps
        Full width; a pair is kept if its difference lies in ``[-window/2, window/2)``.
    n
        Arrivals, evenly spread over the clock.
    """
    rng = np.random.default_rng(seed)
    edges = _edges(len(lines), period_ps, jitter_ps, seed + 1)
    arrivals = np.cumsum(rng.uniform(50_000, 100_000, n))
    told, errors = [], []
    for k, line in enumerate(lines):
        clock, code = arrivals_to_codes(line, arrivals, edges[k])
        told.append(clock * period_ps + calibration.times_ps[k][code] - calibration.skew_ps[k])
        errors.append(told[-1] - arrivals)
    pairs = [told[b] - told[a] for a in range(len(told)) for b in range(a + 1, len(told))]
    inside = [(-window_ps / 2 <= d) & (d < window_ps / 2) for d in pairs]
    return TimingErrors(
        single_rms_ps=np.array([e.std() for e in errors]),
        pair_rms_ps=max(float(np.sqrt(np.mean(d.astype(float) ** 2))) for d in pairs),
        lost_share=max(1 - float(kept.mean()) for kept in inside),
        offset_ps=np.array([e.mean() for e in errors]),
    )
