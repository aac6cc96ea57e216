"""Yield and error rate of single-photon pairs in the model of `bellrelay.physics.gains`.

A phase-randomised pulse is a Poisson mixture of photon numbers, so

    exp(a + b) Q(a, b) = sum_nm a^n b^m / (n! m!) Y_nm

and Y_11 is the mixed derivative at a = b = 0. Of one silent set of cells S that collects the parts
alpha and beta of Alice's and Bob's light with swing gamma sqrt(a b), that derivative is
g(S) = (1 - alpha)(1 - beta) + gamma^2 / 4; a pattern is a signed sum of these, as for the gains.
For M = 1 and both outcomes it is Eqs. (A9) and (A11) of Ma and Razavi, PRA 86, 062319 (2012); the
rest is derived here. It is a model truth, never a security bound.
"""

from __future__ import annotations

import numpy as np

from .gains import BellGains, OutcomeGain, _mode_weights, _patterns, bob_flips
from .relay_model import Basis, Floats, RelayModel


def single_photon_gains(model: RelayModel, basis: Basis) -> BellGains:
    """Y_11 (as `gain`) and e_11 Y_11 (as `errors`) of each outcome, both parties in `basis`.

    Arrays have the broadcast shape of model.eta_a and model.eta_b.
    """
    basis = Basis(basis)
    eta_a, eta_b = np.broadcast_arrays(
        np.asarray(model.eta_a, np.float64), np.asarray(model.eta_b, np.float64)
    )
    shape = (2, 2, len(model.cells()), *eta_a.shape)
    alpha, beta, gamma = (np.zeros(shape) for _ in range(3))
    weights = _mode_weights(basis)
    for bit_a in (0, 1):
        for bit_b in (0, 1):
            turned = basis is Basis.X and bit_a != bit_b
            for c, cell in enumerate(model.cells()):
                a = eta_a * weights[bit_a, cell.mode]
                b = eta_b * weights[bit_b, cell.mode]
                sign = -1.0 if (cell.port == 1) != (turned and cell.mode == 1) else 1.0
                alpha[bit_a, bit_b, c] = 0.5 * cell.share * a
                beta[bit_a, bit_b, c] = 0.5 * cell.share * b
                gamma[bit_a, bit_b, c] = sign * cell.share * np.sqrt(model.mode_overlap * a * b)
    plus, minus = np.zeros((2, 2, *eta_a.shape)), np.zeros((2, 2, *eta_a.shape))
    for i, j, is_minus in _patterns(model):
        target = minus if is_minus else plus
        target += _pattern_yield(model, alpha, beta, gamma, i, j)
    flip = model.misalignment(basis)
    results = []
    for probability, outcome_is_minus in ((plus, False), (minus, True)):
        gain = probability.mean(axis=(0, 1))
        wrong = 0 if bob_flips(outcome_is_minus, basis) else 1
        raw = 0.25 * (probability[0, wrong] + probability[1, 1 ^ wrong])
        results.append(OutcomeGain(gain, (1.0 - flip) * raw + flip * (gain - raw)))
    return BellGains(psi_plus=results[0], psi_minus=results[1])


def _pattern_yield(
    model: RelayModel, alpha: Floats, beta: Floats, gamma: Floats, i: int, j: int
) -> Floats:
    """Mixed derivative of the probability of exactly cells i and j."""
    cells = model.cells()
    rest = [
        c
        for c, cell in enumerate(cells)
        if c not in (i, j)
        and (model.same_detector or cell.mode == 0 or cell.detector != cells[i].detector)
    ]
    al, be, ga = (x[:, :, rest].sum(axis=2) for x in (alpha, beta, gamma))
    al_i, be_i, ga_i = alpha[:, :, i], beta[:, :, i], gamma[:, :, i]
    al_j, be_j, ga_j = alpha[:, :, j], beta[:, :, j], gamma[:, :, j]
    dark_i, dark_j = cells[i].dark, cells[j].dark

    def lit(x: Floats, y: Floats, g: Floats, dx: Floats, dy: Floats, dg: Floats) -> Floats:
        """g(S) - g(S + cell), formed without cancellation."""
        return dx * (1.0 - y) + dy * (1.0 - x) - dx * dy - dg * (2.0 * g + dg) / 4.0

    both = al_i * be_j + al_j * be_i + ga_i * ga_j / 2.0
    light_i = lit(al + al_j, be + be_j, ga + ga_j, al_i, be_i, ga_i)
    light_j = lit(al + al_i, be + be_i, ga + ga_i, al_j, be_j, ga_j)
    neither = (1.0 - al - al_i - al_j) * (1.0 - be - be_i - be_j) + (ga + ga_i + ga_j) ** 2 / 4.0
    silent = float(np.prod([1.0 - cells[c].dark for c in rest]))
    return np.asarray(
        silent * (both + dark_j * light_i + dark_i * light_j + dark_i * dark_j * neither)
    )
