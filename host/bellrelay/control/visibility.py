"""Visibility of the interference: of X-basis outcomes, and of a Hong-Ou-Mandel delay scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

__all__ = ["DipFit", "Visibility", "dip_visibility_fit", "visibility_of_x"]


@dataclass(frozen=True)
class Visibility:
    """A visibility and its standard error."""

    value: float
    sigma: float


def visibility_of_x(outcomes: int, errors: int) -> Visibility:
    """Visibility of interference in X: correct less wrong outcomes over all of them.

    V = 1 - 2 E. Of phase-randomised weak pulses of equal intensity at the relay E is 1/4 at best,
    and V 1/2: pairs from one source are half of all pairs, and do not interfere.

    Parameters
    ----------
    outcomes
        Announced outcomes with both in X at the same intensity, whose bits are public.
    errors
        Those of them whose bits do not fit.

    Raises
    ------
    ValueError
        No outcome, or more errors than outcomes.
    """
    if not 0 <= errors <= outcomes or outcomes == 0:
        raise ValueError(f"{errors} errors among {outcomes} outcomes")
    # One of each is added: neither none nor all are certain (Laplace's rule), in the error bar.
    share = (errors + 1.0) / (outcomes + 2.0)
    sigma = 2.0 * math.sqrt(share * (1.0 - share) / (outcomes + 3.0))
    return Visibility(1.0 - 2.0 * errors / outcomes, sigma)


@dataclass(frozen=True)
class DipFit:
    """A Gaussian dip, fitted to coincidences against the delay between the sources.

    visibility: depth over the level far outside. centre_ps: delay at which the pulses meet.
    width_ps: standard deviation of the dip; that of pulses of standard deviation s is s * sqrt(2).
    level: coincidences outside. sigma_*: standard errors. chi_square: of `degrees` degrees of
    freedom.
    """

    visibility: float
    sigma_visibility: float
    centre_ps: float
    sigma_centre_ps: float
    width_ps: float
    sigma_width_ps: float
    level: float
    chi_square: float
    degrees: int


def dip_visibility_fit(
    delay_ps: ArrayLike,
    coincidences: ArrayLike,
    exposure: ArrayLike = 1.0,
    accidental: ArrayLike = 0.0,
) -> DipFit:
    """Fit ``level * exposure * (1 - V exp(-(delay - centre)^2 / (2 width^2))) + accidental``.

    C. K. Hong, Z. Y. Ou, L. Mandel, Phys. Rev. Lett. 59, 2044 (1987); for weak coherent pulses V is
    1/2 at best. The visibility may come out above that by chance, as any estimate may.

    Parameters
    ----------
    delay_ps, coincidences
        (n,) each, five delays at least.
    exposure
        Relative pulses sent at each delay.
    accidental
        Known mean of coincidences that are no pair's: dark counts.

    Raises
    ------
    ValueError
        Too few delays, or counts that show no level.
    """
    delay = np.asarray(delay_ps, np.float64)
    counts = np.asarray(coincidences, np.float64)
    sent = np.broadcast_to(np.asarray(exposure, np.float64), delay.shape)
    dark = np.broadcast_to(np.asarray(accidental, np.float64), delay.shape)
    if delay.size < 5 or np.ptp(delay) == 0.0:
        raise ValueError("a dip takes five delays at least")
    rate = (counts - dark) / sent
    level = float(np.quantile(rate, 0.8))
    if level <= 0.0:
        raise ValueError("no coincidences above the accidental ones")
    missing = np.clip(level - rate, 0.0, None)
    centre = float(np.sum(missing * delay) / max(float(missing.sum()), 1e-30))
    lowest = float(delay[np.argmin(rate)])
    span = float(np.ptp(delay))

    def expected(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        depth = theta[1] * np.exp(-0.5 * ((delay - theta[2]) / theta[3]) ** 2)
        return np.asarray(theta[0] * sent * (1.0 - depth) + dark)

    def off(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        # Weights of the expected counts, not of those seen: few counts would pull otherwise.
        mean = np.maximum(expected(theta), 1e-9)
        return np.asarray((counts - mean) / np.sqrt(np.maximum(weights, 0.25)))

    weights = np.maximum(counts, 1.0)
    best = None
    for start_centre in (lowest, centre):
        weights = np.maximum(counts, 1.0)
        theta = np.array([level, 0.4, start_centre, span / 8.0])
        for _ in range(4):
            found = least_squares(
                off,
                theta,
                bounds=([0.0, -1.0, delay.min(), span * 1e-3], [np.inf, 1.5, delay.max(), span]),
                x_scale=[level, 0.1, span / 20.0, span / 20.0],
            )
            theta = found.x
            weights = np.maximum(expected(theta), 0.25)
        if best is None or found.cost < best[0]:
            best = (found.cost, theta, found.jac)
    assert best is not None
    cost, theta, jacobian = best
    errors = np.sqrt(np.diag(np.linalg.pinv(jacobian.T @ jacobian)))
    return DipFit(
        float(theta[1]),
        float(errors[1]),
        float(theta[2]),
        float(errors[2]),
        float(theta[3]),
        float(errors[3]),
        float(theta[0]),
        2.0 * float(cost),
        delay.size - 4,
    )
