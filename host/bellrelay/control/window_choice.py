"""Windows that give the most key: how much of each pulse they keep, how much noise they let in.

A relay does not know its key rate. What it knows is how many clicks a pulse and a stretch of noise
give; with the closed form of the link (:mod:`bellrelay.physics`) and what the endpoints declare
(their signal, misalignment, overlap) the asymptotic rate with infinitely many decoys follows. Its
absolute value is no statement on a real key; where its maximum lies depends on little but the
ratio of light to noise.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.physics import Encoding, RelayModel
from bellrelay.physics.key_rate import infinite_decoy_rate

__all__ = ["SlotProfile", "WindowChoice", "best_windows", "rate_of_windows", "slot_profile"]

Floats = NDArray[np.float64]
_GRID = np.geomspace(1.0, 8.0, 16)
"""Half widths that are tried, in widths of the pulse."""
_ROUNDS = 24


@dataclass(frozen=True)
class SlotProfile:
    """Light and noise in the slot.

    Attributes
    ----------
    light
        (detectors, bins) probability per slot of a click by the light, by where it arrives.
    noise
        (detectors,) probability per slot and picosecond of any other click.
    bin_ps
        Width of a bin.
    centres_ps
        Of the pulses.
    width_ps
        Standard deviation of arrival times.
    """

    light: Floats
    noise: Floats
    bin_ps: float
    centres_ps: tuple[float, ...]
    width_ps: float

    def kept(self, windows: Sequence[tuple[float, float]]) -> Floats:
        """(detectors, windows) probability per slot of a click of the light in each."""
        edges = np.arange(self.light.shape[1] + 1) * self.bin_ps
        total = np.concatenate(
            (np.zeros((len(self.light), 1)), np.cumsum(self.light, axis=1)), axis=1
        )
        return np.array(
            [
                [
                    np.interp(end, edges, row) - np.interp(start, edges, row)
                    for start, end in windows
                ]
                for row in total
            ]
        )


@dataclass(frozen=True)
class WindowChoice:
    """Windows, and the rate by the closed form with them and with those before."""

    windows: tuple[tuple[int, int], ...]
    rate: float
    rate_before: float


def slot_profile(
    histogram: NDArray[np.integer],
    slots: float,
    *,
    bin_ps: float,
    period_ps: float,
    centres_ps: Sequence[float],
    width_ps: float,
    away: float = 6.0,
) -> SlotProfile:
    """Light and noise from arrival times: noise is what lies `away` widths from every pulse.

    Parameters
    ----------
    histogram
        (detectors, bins) counts.
    slots
        In which these were counted.

    Raises
    ------
    ValueError
        Nothing of the slot lies between the pulses.
    """
    counts = np.asarray(histogram, np.float64)[:, : int(np.ceil(period_ps / bin_ps))]
    middle = (np.arange(counts.shape[1]) + 0.5) * bin_ps
    distance = np.min(
        [np.abs((middle - c + period_ps / 2) % period_ps - period_ps / 2) for c in centres_ps],
        axis=0,
    )
    dark = (distance > away * width_ps) & (middle + bin_ps / 2 <= period_ps)
    if not dark.any():
        raise ValueError(f"pulses of {width_ps:.0f} ps leave nothing of the slot between them")
    per_bin = counts[:, dark].mean(axis=1)
    light = np.where(dark, 0.0, counts - per_bin[:, None]) / slots
    noise = per_bin / bin_ps / slots
    return SlotProfile(light, noise, bin_ps, tuple(centres_ps), width_ps)


def rate_of_windows(
    profile: SlotProfile,
    windows: Sequence[tuple[float, float]],
    model: RelayModel,
    signal: float,
) -> float:
    """Asymptotic rate per pair of signals that both sent in Z, with these windows.

    Parameters
    ----------
    model
        With `eta` as it would be if every click of the light were kept; noise is put in here.
    signal
        Mean photon number of both senders' signals.
    """
    full = float(profile.light.sum(axis=1).max())
    if full <= 0.0:
        return 0.0
    kept = profile.kept(windows)
    widths = np.array([end - start for start, end in windows])
    # A Bell pair takes a click in each window: it is their product that counts.
    n = len(windows)
    shares = n * np.prod(np.maximum(kept, 0.0), axis=1) ** (1.0 / n)
    dark = np.minimum(profile.noise * widths.mean(), 0.5)
    seen = dataclasses.replace(
        model,
        detector_efficiency=tuple(float(min(s / full, 1.0)) for s in shares),
        dark_count_probability=tuple(map(float, dark)),
    )
    return float(infinite_decoy_rate(seen, signal, signal))


def best_windows(
    profile: SlotProfile,
    period_ps: int,
    before: Sequence[tuple[int, int]],
    *,
    eta: float,
    signal: float,
    misalignment: float = 0.01,
    mode_overlap: float = 0.95,
    encoding: Encoding = Encoding.TIME_BIN,
    reserve_ps: float = 0.0,
) -> WindowChoice:
    """Windows about the pulses, all of one shape, with the highest rate.

    Parameters
    ----------
    before
        Windows as they are.
    eta
        From a source to any detector's click.
    reserve_ps
        For what the pulses move between two looks of the tracking: both edges go out by it.

    Raises
    ------
    ValueError
        Nothing gives any key.
    """
    n = len(profile.light)
    model = RelayModel(
        encoding=encoding,
        eta_a=eta,
        eta_b=eta,
        detectors_per_port=1 if encoding is Encoding.POLARISATION else n // 2,
        misalignment_z=misalignment,
        misalignment_x=misalignment,
        mode_overlap=mode_overlap,
    )
    centres = profile.centres_ps
    room = _room(centres, period_ps)

    def windows(left: float, right: float) -> tuple[tuple[float, float], ...]:
        return tuple((c - left, c + right) for c in centres)

    def rate(left: float, right: float) -> float:
        return rate_of_windows(profile, windows(left, right), model, signal)

    best, left, right = max(
        (rate(half, half), half, half)
        for half in (min(float(k * profile.width_ps), room - reserve_ps) for k in _GRID)
    )
    if best <= 0.0:
        raise ValueError("no windows give any key: too much noise for the light")
    step = 0.5 * profile.width_ps
    for _ in range(_ROUNDS):
        tries = [
            (left + a * step, right + b * step)
            for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))
        ]
        inside = [
            (rate(a, b), a, b)
            for a, b in tries
            if min(a, b) > 0.0 and max(a, b) + reserve_ps <= room
        ]
        found = max(inside, default=(0.0, left, right))
        if found[0] > best:
            best, left, right = found
        else:
            step *= 0.5
            if step < 1.0:
                break
    chosen = tuple(
        (
            max(0, round(c - left - reserve_ps)),
            min(period_ps, round(c + right + reserve_ps)),
        )
        for c in centres
    )
    return WindowChoice(
        chosen,
        rate_of_windows(profile, chosen, model, signal),
        rate_of_windows(profile, before, model, signal),
    )


def _room(centres: Sequence[float], period_ps: float) -> float:
    """How far windows may reach: half of the way to the next pulse, and not out of the slot."""
    gaps = [b - a for a, b in itertools.pairwise(centres)]
    return min([gap / 2 for gap in gaps] + [centres[0], period_ps - centres[-1]])
