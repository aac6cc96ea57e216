"""Gains and error rates of phase-randomised weak coherent pulses at a relay.

Model. Alice's and Bob's pulses meet at a 50:50 beam splitter with ports c and d. In mode m (early
or late, H or V) they bring a_m and b_m detectable photons on average; with the random relative
phase phi of a slot and s_m = -1 where exactly one of the two has bit 1 in X and m = 1, else 1,
a cell of port c (+) or d (-) that gets the share r of its port's light sees the mean number

    lambda = r [ (a_m + b_m) / 2  +/-  s_m sqrt(M a_m b_m) cos(phi) ] = A + B cos(phi)

and stays silent with probability (1 - p_d) exp(-lambda), independently of the others given phi. A
product of silences is one exponential, and its mean over phi is exp(-sum A) I0(sum B), so that any
exact pattern of clicks is a signed sum of such terms. Announced are patterns of exactly two cells,
one per mode: psi-minus on different ports, psi-plus on the same.

For M = 1, equal windows and both outcomes together this is the model of X. Ma and M. Razavi,
Phys. Rev. A 86, 062319 (2012), appendix B: Eqs. (B12) and (B16) in X, (B28)-(B31) in Z; see
`bellrelay.physics.ma_razavi`, against which it is tested. The forms for M < 1, for each outcome,
for detectors behind further splitters, with unequal efficiencies and dark counts, and for detectors
that are blind in the late window are derived here in the same way; no published form is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import i0

from bellrelay.wire.outcomes import Outcome

from .bessel import i0_difference, i0_second_difference
from .relay_model import Basis, Floats, RelayModel


@dataclass(frozen=True)
class OutcomeGain:
    """Of one Bell outcome, or of several together, per pair of pulses sent at these settings.

    gain: probability Q that it is announced. errors: probability E Q that it is announced and that
    the bits disagree after Bob's flip rule. Both float64 arrays of the broadcast input shape.
    """

    gain: Floats
    errors: Floats

    @property
    def error_rate(self) -> Floats:
        """E = (E Q) / Q; 1/2 where nothing is ever announced."""
        empty = self.gain <= 0.0
        return np.asarray(np.where(empty, 0.5, self.errors / np.where(empty, 1.0, self.gain)))

    def __add__(self, other: OutcomeGain) -> OutcomeGain:
        return OutcomeGain(self.gain + other.gain, self.errors + other.errors)


@dataclass(frozen=True)
class BellGains:
    """Gains of both outcomes that linear optics can announce."""

    psi_plus: OutcomeGain
    psi_minus: OutcomeGain

    @property
    def both(self) -> OutcomeGain:
        """The two outcomes pooled."""
        return self.psi_plus + self.psi_minus

    def pooled(self, outcomes: Iterable[Outcome]) -> OutcomeGain:
        """These outcomes pooled; ValueError if there is none."""
        chosen = set(outcomes)
        if not chosen:
            raise ValueError("outcomes: at least one of psi-plus and psi-minus")
        if chosen == set(Outcome):
            return self.both
        return self.psi_minus if Outcome.PSI_MINUS in chosen else self.psi_plus


def bob_flips(outcome_is_psi_minus: bool, basis: Basis) -> bool:
    """Whether Bob flips his bit: always in Z, in X for psi-minus alone."""
    return basis is Basis.Z or outcome_is_psi_minus


def gains(model: RelayModel, basis: Basis, mu_a: ArrayLike, mu_b: ArrayLike) -> BellGains:
    """Gain and error gain of each outcome, both parties in `basis`, bits uniform.

    mu_a, mu_b: mean photon numbers per pulse that leave the sources, >= 0, any shapes that
    broadcast (with model.eta_a and eta_b too). In X the number is of both bins together.
    Misalignment flips the announced bit: E Q -> (1 - e) E Q + e (Q - E Q).
    Raises ValueError on a negative intensity.
    """
    basis = Basis(basis)
    plus, minus = outcome_probabilities(model, basis, basis, mu_a, mu_b)
    flip = model.misalignment(basis)
    results = []
    for probability, is_minus in ((plus, False), (minus, True)):
        gain = probability.mean(axis=(0, 1))
        # The bits disagree where a xor b xor flip = 1.
        wrong = 0 if bob_flips(is_minus, basis) else 1
        raw = 0.25 * sum((probability[a, a ^ wrong] for a in (0, 1)), np.zeros_like(gain))
        results.append(OutcomeGain(gain, (1.0 - flip) * raw + flip * (gain - raw)))
    return BellGains(psi_plus=results[0], psi_minus=results[1])


def outcome_probabilities(
    model: RelayModel, basis_a: Basis, basis_b: Basis, mu_a: ArrayLike, mu_b: ArrayLike
) -> tuple[Floats, Floats]:
    """(psi-plus, psi-minus) probabilities given the bits that are sent; any two bases.

    Returns two float64 arrays of shape (2, 2) + broadcast shape: axis 0 Alice's bit, axis 1 the bit
    that Bob sends (before any misalignment). Error-free in the sense of the model: no flips.
    """
    mean, swing = _cell_light(model, Basis(basis_a), Basis(basis_b), mu_a, mu_b)
    plus = np.zeros(mean.shape[:2] + mean.shape[3:])
    minus = np.zeros_like(plus)
    for first, second, is_minus in _patterns(model):
        probability = _pattern_probability(model, mean, swing, first, second)
        if is_minus:
            minus += probability
        else:
            plus += probability
    return plus, minus


def _patterns(model: RelayModel) -> list[tuple[int, int, bool]]:
    """Announced pairs: (cell of mode 0, cell of mode 1, is psi-minus)."""
    cells = model.cells()
    pairs = []
    for i, first in enumerate(cells):
        for j, second in enumerate(cells):
            if first.mode != 0 or second.mode != 1:
                continue
            if first.detector == second.detector and not model.same_detector:
                continue
            pairs.append((i, j, first.port != second.port))
    return pairs


def _mode_weights(basis: Basis) -> Floats:
    """Part of a pulse in each mode: [bit, mode]."""
    if basis is Basis.Z:
        return np.array([[1.0, 0.0], [0.0, 1.0]])
    return np.full((2, 2), 0.5)


def _cell_light(
    model: RelayModel, basis_a: Basis, basis_b: Basis, mu_a: ArrayLike, mu_b: ArrayLike
) -> tuple[Floats, Floats]:
    """A and B of every cell: float64 (2 bits of Alice, 2 of Bob, cells) + broadcast shape."""
    arriving_a = np.asarray(mu_a, np.float64) * np.asarray(model.eta_a, np.float64)
    arriving_b = np.asarray(mu_b, np.float64) * np.asarray(model.eta_b, np.float64)
    if np.any(arriving_a < 0.0) or np.any(arriving_b < 0.0):
        raise ValueError("intensities must not be negative")
    arriving_a, arriving_b = np.broadcast_arrays(arriving_a, arriving_b)
    weights_a, weights_b = _mode_weights(basis_a), _mode_weights(basis_b)
    cells = model.cells()
    mean = np.empty((2, 2, len(cells), *arriving_a.shape))
    swing = np.empty_like(mean)
    for bit_a in (0, 1):
        for bit_b in (0, 1):
            turned = (bit_a if basis_a is Basis.X else 0) ^ (bit_b if basis_b is Basis.X else 0)
            for c, cell in enumerate(cells):
                a = arriving_a * weights_a[bit_a, cell.mode]
                b = arriving_b * weights_b[bit_b, cell.mode]
                sign = -1.0 if (cell.port == 1) != (turned == 1 and cell.mode == 1) else 1.0
                mean[bit_a, bit_b, c] = 0.5 * cell.share * (a + b)
                swing[bit_a, bit_b, c] = sign * cell.share * np.sqrt(model.mode_overlap * a * b)
    return mean, swing


def _pattern_probability(model: RelayModel, mean: Floats, swing: Floats, i: int, j: int) -> Floats:
    """Probability that cells i and j click and all other cells that could be seen stay silent."""
    cells = model.cells()
    rest = [
        c
        for c, cell in enumerate(cells)
        if c not in (i, j)
        # Blind after its early click: nothing of this detector can be seen late.
        and (model.same_detector or cell.mode == 0 or cell.detector != cells[i].detector)
    ]
    silent = float(np.prod([1.0 - cells[c].dark for c in rest]))
    a_rest = mean[:, :, rest].sum(axis=2)
    b_rest = swing[:, :, rest].sum(axis=2)
    a_i, a_j, b_i, b_j = mean[:, :, i], mean[:, :, j], swing[:, :, i], swing[:, :, j]
    dark_i, dark_j = cells[i].dark, cells[j].dark
    hit_i, hit_j = -np.expm1(-a_i), -np.expm1(-a_j)

    # Mean over phi of exp(-B_rest cos) (1 - exp(-lambda_i)) (1 - exp(-lambda_j)), regrouped so
    # that only small numbers are added.
    less_j = i0_difference(b_rest + b_i, b_j)
    less_i = i0_difference(b_rest + b_j, b_i)
    full = i0(b_rest + b_i + b_j)
    both = (
        i0_second_difference(b_rest, b_i, b_j)
        - hit_i * less_j
        - hit_j * less_i
        + hit_i * hit_j * full
    )
    # One by light, the other by a dark count in a window that the light left silent.
    light_i = hit_i * full - less_i
    light_j = hit_j * full - less_j
    neither = np.exp(-a_i - a_j) * full
    total = (
        both
        + dark_j * np.exp(-a_j) * light_i
        + dark_i * np.exp(-a_i) * light_j
        + dark_i * dark_j * neither
    )
    return np.asarray(silent * np.exp(-a_rest) * total, np.float64)
