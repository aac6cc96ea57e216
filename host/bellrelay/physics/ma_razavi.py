"""Published closed forms of X. Ma and M. Razavi, Phys. Rev. A 86, 062319 (2012) (arXiv:1204.4856).

They hold for perfect overlap, four equal windows, threshold detectors that may click in either
window, and both Bell outcomes together. `bellrelay.physics.gains` and `single_photon` generalise
them and are tested against them. Equation numbers are those of the paper's appendices, checked
against two independent open implementations that cite them.

mu_a, mu_b: mean photon numbers leaving the sources; eta_a, eta_b: from source to click; p_d: dark
count probability per window; e_d: misalignment. All broadcast; results are float64 arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import i0

from .relay_model import Floats

E_0 = 0.5
"""Error rate of a background event."""


def _arriving(
    mu_a: ArrayLike, mu_b: ArrayLike, eta_a: ArrayLike, eta_b: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """eta_a mu_a, eta_b mu_b and x = sqrt(eta_a mu_a eta_b mu_b) / 2, Eq. (B7)."""
    a = np.asarray(eta_a, np.float64) * np.asarray(mu_a, np.float64)
    b = np.asarray(eta_b, np.float64) * np.asarray(mu_b, np.float64)
    return a, b, np.asarray(np.sqrt(a * b) / 2.0)


def x_basis(
    mu_a: ArrayLike, mu_b: ArrayLike, eta_a: ArrayLike, eta_b: ArrayLike, p_d: float, e_d: float
) -> tuple[Floats, Floats]:
    """(Q_X, E_X Q_X), Eqs. (B12) and (B16), with y = (1 - p_d) exp(-(eta_a mu_a + eta_b mu_b)/4).

    Q = 2 y^2 [1 + 2 y^2 - 4 y I0(x) + I0(2x)];  E Q = e_0 Q - 2 (e_0 - e_d) y^2 [I0(2x) - 1].
    Literal, so it loses digits where few photons arrive: about 1e-16 / Q of Q.
    """
    a, b, x = _arriving(mu_a, mu_b, eta_a, eta_b)
    y = (1.0 - p_d) * np.exp(-(a + b) / 4.0)
    gain = 2.0 * y**2 * (1.0 + 2.0 * y**2 - 4.0 * y * i0(x) + i0(2.0 * x))
    errors = E_0 * gain - 2.0 * (E_0 - e_d) * y**2 * (i0(2.0 * x) - 1.0)
    return np.asarray(gain), np.asarray(errors)


def z_basis(
    mu_a: ArrayLike, mu_b: ArrayLike, eta_a: ArrayLike, eta_b: ArrayLike, p_d: float, e_d: float
) -> tuple[Floats, Floats]:
    """(Q_Z, E_Z Q_Z), Eqs. (B28)-(B31): Q = Q_C + Q_E, E Q = e_d Q_C + (1 - e_d) Q_E."""
    a, b, x = _arriving(mu_a, mu_b, eta_a, eta_b)
    front = 2.0 * (1.0 - p_d) ** 2 * np.exp(-(a + b) / 2.0)
    hit_a = 1.0 - (1.0 - p_d) * np.exp(-a / 2.0)
    hit_b = 1.0 - (1.0 - p_d) * np.exp(-b / 2.0)
    correct = front * hit_a * hit_b
    wrong = front * p_d * (i0(2.0 * x) - (1.0 - p_d) * np.exp(-(a + b) / 2.0))
    return np.asarray(correct + wrong), np.asarray(e_d * correct + (1.0 - e_d) * wrong)


def single_photon_pair(
    eta_a: ArrayLike, eta_b: ArrayLike, p_d: float, e_d: float
) -> tuple[Floats, Floats]:
    """(Y_11, e_11 Y_11), Eqs. (A9) and (A11)."""
    a, b = np.asarray(eta_a, np.float64), np.asarray(eta_b, np.float64)
    live = (1.0 - p_d) ** 2
    signal = a * b / 2.0
    background = (2.0 * a + 2.0 * b - 3.0 * a * b) * p_d + 4.0 * (1.0 - a) * (1.0 - b) * p_d**2
    gain = live * (signal + background)
    errors = E_0 * gain - (E_0 - e_d) * live * signal
    return np.asarray(gain), np.asarray(errors)
