"""Two-decoy bounds on single-photon pairs without fluctuation: closed forms.

Of gains that are known exactly (no finite statistics; `bellrelay.distill` has those). F. Xu,
M. Curty, B. Qi, H.-K. Lo, New J. Phys. 15, 113007 (2013), Table 2, for intensities that may differ
between the parties. With phases uniformly random,

    exp(a + b) Q(a, b) = sum_nm a^n b^m / (n! m!) Y_nm,

so that the combination G(x) = e^(x_a + x_b) Q(x, x) + e^(o_a + o_b) Q(o, o) - e^(x_a + o_b) Q(x, o)
- e^(o_a + x_b) Q(o, x) holds pairs with n, m >= 1 alone, with coefficients
(x_a^n - o_a^n)(x_b^m - o_b^m) / (n! m!).

Intensities: sequences (mu, nu, o), mu > nu > o >= 0, of mean photon numbers leaving the source.
Gains: arrays (3, 3) or (..., 3, 3), [Alice's, Bob's], of one basis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .relay_model import Floats

MAX_ERROR_RATE = 0.5
"""What a bound on an error rate says where it can say nothing."""


def pair_yield_lower(alice: Sequence[float], bob: Sequence[float], gain: ArrayLike) -> Floats:
    """Lower bound on the yield Y_11 of single-photon pairs in the basis of `gain`, 0..1.

    G(nu) and G(mu) are combined so that Y_11 stays, Y_12 or Y_21 cancels, and all higher terms are
    negative. Which one cancels depends on the intensities: with r = (mu + o) / (nu + o) of each
    party, Y_21 (two photons from Alice) if r_a <= r_b, else Y_12; the other choice is no bound.

    gain: Q, (..., 3, 3). Returns float64 of the shape (...); 0 where the bound says nothing.
    Raises ValueError if intensities are not strictly falling, or not >= 0.
    """
    q = np.asarray(gain, np.float64)
    mu_a, nu_a, o_a = _falling("alice", alice)
    mu_b, nu_b, o_b = _falling("bob", bob)
    if (mu_a + o_a) * (nu_b + o_b) > (mu_b + o_b) * (nu_a + o_a):
        # The mirror image of the same law.
        mu_a, nu_a, o_a, mu_b, nu_b, o_b = mu_b, nu_b, o_b, mu_a, nu_a, o_a
        alice, bob, q = bob, alice, np.swapaxes(q, -1, -2)
    weak = _without_vacuum(alice, bob, q, 1)
    strong = _without_vacuum(alice, bob, q, 0)
    numerator = (mu_a**2 - o_a**2) * (mu_b - o_b) * weak - (nu_a**2 - o_a**2) * (
        nu_b - o_b
    ) * strong
    denominator = (mu_a - o_a) * (mu_b - o_b) * (nu_a - o_a) * (nu_b - o_b) * (mu_a - nu_a)
    return np.asarray(np.clip(numerator / denominator, 0.0, 1.0))


def pair_error_upper(
    alice: Sequence[float], bob: Sequence[float], errors: ArrayLike, yield_lower: ArrayLike
) -> Floats:
    """Upper bound on the error rate e_11 of single-photon pairs, 0..1/2.

    errors: E Q, (..., 3, 3), of the same basis as the gains that gave `yield_lower`, (...).
    G(nu) of the errors is at least (nu_a - o_a)(nu_b - o_b) e_11 Y_11. Where the bound says
    nothing, or the data contradict themselves (a negative G), it is 1/2, never 0.
    """
    (_, nu_a, o_a), (_, nu_b, o_b) = _falling("alice", alice), _falling("bob", bob)
    wrong = _without_vacuum(alice, bob, np.asarray(errors, np.float64), 1)
    lower = np.asarray(yield_lower, np.float64)
    usable = (lower > 0.0) & (wrong >= 0.0)
    rate = wrong / np.where(usable, (nu_a - o_a) * (nu_b - o_b) * lower, 1.0)
    return np.asarray(np.where(usable, np.minimum(rate, MAX_ERROR_RATE), MAX_ERROR_RATE))


def _without_vacuum(
    alice: Sequence[float], bob: Sequence[float], q: Floats, setting: int
) -> Floats:
    """G of setting 0 (mu) or 1 (nu)."""
    a, o_a, b, o_b = alice[setting], alice[2], bob[setting], bob[2]
    return np.asarray(
        np.exp(a + b) * q[..., setting, setting]
        + np.exp(o_a + o_b) * q[..., 2, 2]
        - np.exp(a + o_b) * q[..., setting, 2]
        - np.exp(o_a + b) * q[..., 2, setting]
    )


def _falling(name: str, intensities: Sequence[float]) -> tuple[float, float, float]:
    mu, nu, o = (float(x) for x in intensities)
    if not mu > nu > o >= 0.0:
        raise ValueError(f"{name}: intensities must fall, mu > nu > o >= 0, got {intensities}")
    return mu, nu, o
