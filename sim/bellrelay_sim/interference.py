"""Two coherent pulses at a 50:50 beam splitter: mean photon numbers behind it.

The same model as `bellrelay.physics.gains`, for one slot with a definite phase.
"""

from __future__ import annotations

import math

from .choices import BASIS_X
from .compiled import njit


@njit(cache=True)
def mode_means(mean, basis, bit):
    """Mean photon numbers of a pulse in the two modes (early, late or H, V).

    Z puts the whole pulse into mode `bit`, X half of it into each.
    """
    if basis == BASIS_X:
        return 0.5 * mean, 0.5 * mean
    if bit == 0:
        return mean, 0.0
    return 0.0, mean


@njit(cache=True)
def port_means(mean_a, basis_a, bit_a, mean_b, basis_b, bit_b, phase, overlap):
    """Mean photon numbers (c mode 0, c mode 1, d mode 0, d mode 1) behind the beam splitter.

    mean_a, mean_b: arriving photons per pulse; phase: of Bob's pulse against Alice's; overlap:
    M = |<psi_a|psi_b>|^2, whose root scales the interference term. A bit 1 in X turns mode 1 by pi.
    """
    a0, a1 = mode_means(mean_a, basis_a, bit_a)
    b0, b1 = mode_means(mean_b, basis_b, bit_b)
    turned = (bit_a if basis_a == BASIS_X else 0) ^ (bit_b if basis_b == BASIS_X else 0)
    swing = math.sqrt(overlap) * math.cos(phase)
    cross0 = swing * math.sqrt(a0 * b0)
    cross1 = swing * math.sqrt(a1 * b1)
    if turned == 1:
        cross1 = -cross1
    half0 = 0.5 * (a0 + b0)
    half1 = 0.5 * (a1 + b1)
    return half0 + cross0, half1 + cross1, half0 - cross0, half1 - cross1
