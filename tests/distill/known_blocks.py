"""Blocks whose truth is known: photon numbers, pairs of single photons, their phase errors.

A pattern's probability is a signed sum of silences, each exp(-alpha a - beta b) I0(gamma sqrt(ab))
(see `bellrelay.physics.gains`), so that the yield of n photons from Alice and m from Bob is a
signed sum of n! m! [a^n b^m] of exp(p a + q b) I0(gamma sqrt(ab)), p = 1 - alpha, q = 1 - beta:

    sum_k C(n, k) C(m, k) (gamma / 2)^(2 k) p^(n - k) q^(m - k).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import comb

from bellrelay.distill.ladder import Ladder, S
from bellrelay.distill.tally import Tally
from bellrelay.physics import Basis, RelayModel, bob_flips, gains
from bellrelay.physics.gains import _cell_light, _patterns
from bellrelay.wire.outcomes import Outcome

MAX_PHOTONS = 8
PHOTONS = np.arange(MAX_PHOTONS + 1)


@dataclass(frozen=True)
class Truth:
    """What nobody sees: (blocks,) events of key by what they are worth."""

    vacuum: np.ndarray
    pairs: np.ndarray
    phase_errors: np.ndarray

    def __add__(self, other: Truth) -> Truth:
        return Truth(
            self.vacuum + other.vacuum,
            self.pairs + other.pairs,
            self.phase_errors + other.phase_errors,
        )

    def private_bits(self) -> np.ndarray:
        """n_vacuum + n_11 (1 - h(e_phase))."""
        rate = self.phase_errors / np.maximum(self.pairs, 1)
        inside = np.clip(rate, 1e-300, 0.5)
        entropy = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
        return self.vacuum + self.pairs * (1.0 - np.where(rate <= 0, 0.0, entropy))


def photon_yields(model: RelayModel, basis_a: Basis, basis_b: Basis) -> dict:
    """By outcome: (2, n, m) yields of photon numbers, without and with error (of X with X)."""
    # Of one photon each, mean and swing are alpha, beta and gamma of every cell.
    alpha, _ = _cell_light(model, basis_a, basis_b, 1.0, 0.0)
    beta, _ = _cell_light(model, basis_a, basis_b, 0.0, 1.0)
    _, gamma = _cell_light(model, basis_a, basis_b, 1.0, 1.0)
    cells = model.cells()
    found = {outcome: np.zeros((2, MAX_PHOTONS + 1, MAX_PHOTONS + 1)) for outcome in Outcome}
    for i, j, is_minus in _patterns(model):
        outcome = Outcome.PSI_MINUS if is_minus else Outcome.PSI_PLUS
        rest = [c for c in range(len(cells)) if c not in (i, j)]
        for bit_a, bit_b in product((0, 1), repeat=2):
            total = 0.0
            for also in product((0, 1), repeat=2):
                silent = rest + [c for c, s in zip((i, j), also, strict=True) if s]
                dark = np.prod([1.0 - cells[c].dark for c in silent])
                a, b, g = (float(x[bit_a, bit_b, silent].sum()) for x in (alpha, beta, gamma))
                total = total + (-1) ** sum(also) * dark * _coefficients(1 - a, 1 - b, g)
            wrong = bit_a ^ bit_b ^ int(bob_flips(is_minus, Basis.X))
            found[outcome][wrong] += 0.25 * np.maximum(total, 0.0)
    flip = model.misalignment_x
    for outcome, (right, wrong) in found.items():
        found[outcome] = np.stack(
            [(1 - flip) * right + flip * wrong, (1 - flip) * wrong + flip * right]
        )
    return found


def _coefficients(p: float, q: float, gamma: float) -> np.ndarray:
    n, m = PHOTONS[:, None], PHOTONS[None, :]
    total = np.zeros((MAX_PHOTONS + 1, MAX_PHOTONS + 1))
    for k in range(MAX_PHOTONS + 1):
        both = (n >= k) & (m >= k)
        powers = p ** np.maximum(n - k, 0) * q ** np.maximum(m - k, 0)
        total += np.where(both, comb(n, k) * comb(m, k) * (gamma / 2) ** (2 * k) * powers, 0.0)
    return total


def link_yields(model: RelayModel) -> dict:
    """(outcome, basis of Alice, basis of Bob) -> (2, n, m)."""
    table = {}
    for basis_a, basis_b in product(Basis, Basis):
        for outcome, yields in photon_yields(model, basis_a, basis_b).items():
            table[outcome, basis_a, basis_b] = yields
    return table


def relay_yields(rule) -> dict:
    """Yields that a relay chooses who counts photons: rule(n, m) -> (announced, error rate in X).

    Half of its announcements are psi-minus. It treats both bases alike.
    """
    table = np.zeros((2, MAX_PHOTONS + 1, MAX_PHOTONS + 1))
    for n, m in product(PHOTONS, PHOTONS):
        announced, error = rule(int(n), int(m))
        # A pulse without photon has a bit that nobody knows.
        error = 0.5 if min(n, m) == 0 else error
        table[:, n, m] = 0.5 * announced * (1 - error), 0.5 * announced * error
    return dict.fromkeys(product(Outcome, Basis, Basis), table)


def draw(
    rng: np.random.Generator,
    yields: dict,
    alice: Ladder,
    bob: Ladder,
    pulses: int,
    blocks: int,
    outcome: Outcome,
    intensities: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, Truth]:
    """Blocks of one outcome: events (blocks, 4, 4), errors (blocks, 4, 4), and the truth.

    intensities: what was really sent, if not what the ladders say. Settings, photon numbers and
    outcomes of all pulses of a block are one multinomial draw.
    """
    sent_a, sent_b = intensities or (alice.intensities, bob.intensities)
    chances = cell_chances(yields, alice, bob, outcome, sent_a, sent_b)
    return draw_chances(rng, chances, pulses, blocks)


def draw_chances(
    rng: np.random.Generator, chances: np.ndarray, pulses: int, blocks: int
) -> tuple[np.ndarray, np.ndarray, Truth]:
    """Events and errors (blocks, k, k), and the truth; no errors in the row and column of key."""
    flat = chances.ravel()
    counts = rng.multinomial(pulses, np.append(flat, 1.0 - flat.sum()), size=blocks)[:, :-1]
    counts = counts.reshape(blocks, *chances.shape)
    key = counts[:, S, S]
    truth = Truth(
        vacuum=key[:, :, 0, :].sum(axis=(1, 2)),
        pairs=key[:, :, 1, 1].sum(axis=1),
        phase_errors=key[:, 1, 1, 1],
    )
    by_error = counts.sum(axis=(4, 5))
    events, errors = by_error.sum(axis=3), by_error[:, :, :, 1].copy()
    errors[:, S, :] = errors[:, :, S] = 0
    return events, errors, truth


FOUR = (Basis.Z, Basis.X, Basis.X, Basis.X)


def cell_chances(
    yields: dict,
    alice: Ladder,
    bob: Ladder,
    outcome: Outcome,
    sent_a: np.ndarray,
    sent_b: np.ndarray,
) -> np.ndarray:
    """(4, 4, 2, n, m) of settings, error and photon numbers: probability per pair of pulses."""
    return setting_chances(
        yields, outcome, FOUR, (alice.probabilities, bob.probabilities), (sent_a, sent_b)
    )


def setting_chances(
    yields: dict,
    outcome: Outcome,
    bases: tuple[Basis, ...],
    probabilities: tuple[np.ndarray, np.ndarray],
    sent: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """(k, k, 2, n, m) for any settings; those of vacuum are of X, key is of the first one."""
    k = len(bases)
    chances = np.zeros((k, k, 2, MAX_PHOTONS + 1, MAX_PHOTONS + 1))
    for a, b in product(range(k), range(k)):
        weight = np.outer(_poisson(sent[0][a]), _poisson(sent[1][b]))
        weight *= probabilities[0][a] * probabilities[1][b]
        chances[a, b] = weight * yields[outcome, bases[a], bases[b]]
    # Single photons have the phase error that X would have shown, whatever they were sent in.
    single = yields[outcome, Basis.X, Basis.X][:, 1, 1]
    weight = _poisson(sent[0][0])[1] * _poisson(sent[1][0])[1]
    chances[0, 0, :, 1, 1] = probabilities[0][0] * probabilities[1][0] * weight * single
    return chances


def expected_tally(yields: dict, alice: Ladder, bob: Ladder, pulses: int) -> Tally:
    """Mean counts of both outcomes together, as a model of the link would have them."""
    n, m = np.zeros((4, 4)), np.zeros((4, 4))
    for outcome in Outcome:
        chances = cell_chances(yields, alice, bob, outcome, alice.intensities, bob.intensities)
        by_error = chances.sum(axis=(3, 4))
        n += pulses * by_error.sum(axis=2)
        m += pulses * by_error[:, :, 1]
    m[S, :] = m[:, S] = 0.0
    return Tally(pulses, n, m)


def _poisson(mean: float) -> np.ndarray:
    weight = np.exp(-mean) * np.cumprod(np.append(1.0, np.full(MAX_PHOTONS, mean) / PHOTONS[1:]))
    return weight


def yields_agree_with_gains(model: RelayModel, a: float, b: float) -> list[tuple[float, float]]:
    """(from yields, closed form) of gains and of errors in X, both outcomes: to test this file."""
    pairs = []
    for basis in Basis:
        closed = gains(model, basis, a, b)
        for outcome, bell in (
            (Outcome.PSI_PLUS, closed.psi_plus),
            (Outcome.PSI_MINUS, closed.psi_minus),
        ):
            weight = np.outer(_poisson(a), _poisson(b))
            yields = photon_yields(model, basis, basis)[outcome]
            pairs.append((float((yields.sum(axis=0) * weight).sum()), float(bell.gain)))
            if basis is Basis.X:
                pairs.append((float((yields[1] * weight).sum()), float(bell.errors)))
    return pairs
