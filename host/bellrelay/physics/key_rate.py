"""Asymptotic key rates, per pair of pulses that both parties sent at the signal setting in Z.

H.-K. Lo, M. Curty, B. Qi, Phys. Rev. Lett. 108, 130503 (2012), Eq. (1):

    R = s_a s_b e^(-s_a - s_b) Y_11 [1 - h(e_11)] - f Q h(E)

with Y_11 of single-photon pairs, e_11 their error rate in X, Q and E what Z shows at the signals.
Nothing here is a security statement about a finite key; `bellrelay.distill` has those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from bellrelay.wire.outcomes import Outcome

from .entropy import binary_entropy
from .gains import gains
from .relay_model import Basis, Floats, RelayModel
from .single_photon import single_photon_gains

# Where the best signal is looked for: less is no signal, more hardly ever one photon alone.
_SMALLEST_SIGNAL, _LARGEST_SIGNAL = 1e-4, 3.0


def asymptotic_rate(
    signal_a: ArrayLike,
    signal_b: ArrayLike,
    pair_yield: ArrayLike,
    pair_error: ArrayLike,
    gain: ArrayLike,
    error_rate: ArrayLike,
    reconciliation_efficiency: float = 1.16,
) -> Floats:
    """R per pair of pulses that both sent at the signal setting in Z; never below 0.

    signal_a, signal_b: mean photon numbers s. pair_yield, pair_error: Y_11 and e_11 in X, truths of
    a model or bounds. gain, error_rate: Q and E in Z at the signals. reconciliation_efficiency: f,
    disclosed bits over n h(E). All broadcast. Error rates above 1/2 count as 1/2.
    """
    a, b = np.asarray(signal_a, np.float64), np.asarray(signal_b, np.float64)
    single = a * b * np.exp(-a - b) * np.asarray(pair_yield, np.float64)
    private = 1.0 - binary_entropy(np.minimum(np.asarray(pair_error, np.float64), 0.5))
    spent = reconciliation_efficiency * binary_entropy(
        np.minimum(np.asarray(error_rate, np.float64), 0.5)
    )
    rate = single * private - np.asarray(gain, np.float64) * spent
    return np.asarray(np.maximum(rate, 0.0))


def infinite_decoy_rate(
    model: RelayModel,
    signal_a: ArrayLike,
    signal_b: ArrayLike,
    reconciliation_efficiency: float = 1.16,
    outcomes: Iterable[Outcome] = tuple(Outcome),
) -> Floats:
    """R with infinitely many decoys: Y_11 and e_11 are the model's own; outcomes are pooled."""
    signal = gains(model, Basis.Z, signal_a, signal_b).pooled(outcomes)
    pairs = single_photon_gains(model, Basis.X).pooled(outcomes)
    return asymptotic_rate(
        signal_a,
        signal_b,
        pairs.gain,
        pairs.error_rate,
        signal.gain,
        signal.error_rate,
        reconciliation_efficiency,
    )


@dataclass(frozen=True)
class BestSignal:
    """Signal intensities that give the highest rate with infinitely many decoys, and that rate."""

    signal_a: float
    signal_b: float
    rate: float


def best_signal(
    model: RelayModel,
    reconciliation_efficiency: float = 1.16,
    outcomes: Iterable[Outcome] = tuple(Outcome),
) -> BestSignal:
    """Maximise `infinite_decoy_rate` over both signals.

    Deterministic: a grid of 24 x 24 intensities from 1e-4 to 3, then a simplex from its best point.
    model.eta_a and model.eta_b must be floats. The rate is 0 beyond the reach of the link.
    """
    outcomes = tuple(outcomes)
    grid = np.geomspace(_SMALLEST_SIGNAL, _LARGEST_SIGNAL, 24)

    def rate(signal_a: ArrayLike, signal_b: ArrayLike) -> Floats:
        return infinite_decoy_rate(model, signal_a, signal_b, reconciliation_efficiency, outcomes)

    table = rate(grid[:, None], grid[None, :])
    i, j = np.unravel_index(int(np.argmax(table)), table.shape)
    low, high = np.log(_SMALLEST_SIGNAL), np.log(_LARGEST_SIGNAL)
    found = minimize(
        lambda x: -float(rate(np.exp(x[0]), np.exp(x[1]))),
        np.log([grid[i], grid[j]]),
        method="Nelder-Mead",
        bounds=[(low, high)] * 2,
        options={"xatol": 1e-7, "fatol": 1e-16},
    )
    return BestSignal(
        float(np.exp(found.x[0])), float(np.exp(found.x[1])), max(0.0, -float(found.fun))
    )
