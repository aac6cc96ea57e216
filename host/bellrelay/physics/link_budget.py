"""From lengths and losses to transmittance, from a measured dip to mode overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .relay_model import Floats


def transmittance(loss_db: ArrayLike) -> Floats:
    """Probability that a photon survives a loss in dB: 10^(-loss / 10); ValueError below 0 dB."""
    loss = np.asarray(loss_db, np.float64)
    if not np.all(loss >= 0.0):
        raise ValueError(f"a loss must not be negative, got {loss_db!r} dB")
    return np.asarray(10.0 ** (-loss / 10.0))


def arm_efficiency(
    length_km: ArrayLike,
    attenuation_db_per_km: ArrayLike = 0.2,
    loss_db: ArrayLike = 0.0,
    detector_efficiency: ArrayLike = 1.0,
) -> Floats:
    """Efficiency eta of one arm, from source to click: fibre, other losses, detector.

    length_km: fibre of this arm. attenuation_db_per_km: of the fibre; 0.2 is standard fibre at
    1550 nm. loss_db: everything else between source and detector, relay optics and the part of a
    pulse outside the gate included; a beam splitter's division is not a loss. detector_efficiency:
    0..1. All broadcast. Raises ValueError on a negative length or loss, or an efficiency outside
    0..1.
    """
    length = np.asarray(length_km, np.float64)
    if not np.all(length >= 0.0):
        raise ValueError(f"a length must not be negative, got {length_km!r} km")
    efficiency = np.asarray(detector_efficiency, np.float64)
    if not np.all((efficiency >= 0.0) & (efficiency <= 1.0)):
        raise ValueError(f"detector_efficiency must lie in 0..1, got {detector_efficiency!r}")
    fibre = transmittance(length * np.asarray(attenuation_db_per_km, np.float64))
    return np.asarray(fibre * transmittance(loss_db) * efficiency)


def dip_visibility(mode_overlap: ArrayLike, ratio: ArrayLike = 1.0) -> Floats:
    """Visibility of the Hong-Ou-Mandel dip of two phase-randomised weak coherent pulses.

    mode_overlap: `M = |<psi_a|psi_b>|^2`. ratio: b / a of the mean photon numbers that arrive. In
    the limit of weak pulses coincidences fall from (a + b)^2 / 4 to (a + b)^2 / 4 - M a b / 2,
    hence V = 2 M r / (1 + r)^2, M / 2 at equal intensities. (Single photons would show M.)
    """
    r = np.asarray(ratio, np.float64)
    return np.asarray(2.0 * np.asarray(mode_overlap, np.float64) * r / (1.0 + r) ** 2)


def overlap_of_visibility(visibility: ArrayLike, ratio: ArrayLike = 1.0) -> Floats:
    """Mode overlap M that shows this dip with weak coherent pulses; inverse of `dip_visibility`.

    Raises ValueError if no overlap in 0..1 does: at equal intensities the limit is 1/2.
    """
    v, r = np.asarray(visibility, np.float64), np.asarray(ratio, np.float64)
    overlap = v * (1.0 + r) ** 2 / (2.0 * r)
    if not np.all((overlap >= 0.0) & (overlap <= 1.0)):
        limit = 2.0 * r / (1.0 + r) ** 2
        raise ValueError(f"visibility must lie in 0..{limit!r}, got {visibility!r}")
    return np.asarray(overlap)
