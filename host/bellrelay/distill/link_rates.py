"""What a modelled link would give: expected counts, and the key that estimation allows of them.

A model's figures, for planning and for comparison with published ones. A block's key never depends
on them: :mod:`bellrelay.distill.estimate` sees counts alone, here those that the closed forms of
:mod:`bellrelay.physics` expect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bellrelay.physics import (
    Basis,
    BellGains,
    DeadTime,
    OutcomeGain,
    RelayModel,
    SentSetting,
    binary_entropy,
    gains,
    live_fraction,
    outcome_probabilities,
)
from bellrelay.wire.outcomes import Outcome

from .estimate import Estimate, estimate
from .key_length import available_bits, secret_length
from .ladder import Ladder
from .security import Security
from .tally import Tally

__all__ = [
    "FiniteKey",
    "ModelledLink",
    "expected_leak",
    "expected_tallies",
    "finite_key",
    "sent_settings",
    "spare_bits",
]


@dataclass(frozen=True)
class ModelledLink:
    """A relay's model, what it announces, and what error correction is taken to disclose.

    relay: eta_a and eta_b must be floats. outcomes: announced ones; the others are discarded.
    dead_time: none, or against the slots. reconciliation_efficiency: f >= 1, disclosed bits over
    n h(E).
    """

    relay: RelayModel
    outcomes: tuple[Outcome, ...] = tuple(Outcome)
    dead_time: DeadTime | None = None
    reconciliation_efficiency: float = 1.16

    def live(self, alice: Ladder, bob: Ladder) -> float:
        """Part of the slots in which every detector could have fired, with these ladders."""
        if self.dead_time is None:
            return 1.0
        return live_fraction(self.relay, self.dead_time, sent_settings(alice), sent_settings(bob))

    def signal(self, alice: Ladder, bob: Ladder) -> OutcomeGain:
        """Announced outcomes, pooled, in Z of both signals, per live slot."""
        return gains(self.relay, Basis.Z, alice.s, bob.s).pooled(self.outcomes)


@dataclass(frozen=True)
class FiniteKey:
    """Key of one block of a modelled link.

    pulses: N, pairs sent. length: bits, 0 where there is no key. leak_ec: bits that error
    correction is taken to disclose, f n h(E). estimate: the bounds, the epsilons, and the cause
    where they allow no key.
    """

    pulses: int
    length: int
    leak_ec: int
    estimate: Estimate

    @property
    def rate(self) -> float:
        """Bits of key per pair of pulses sent."""
        return self.length / self.pulses


def sent_settings(ladder: Ladder) -> tuple[SentSetting, ...]:
    """What a sender with this ladder sends: s in Z, the others in X."""
    bases = (Basis.Z, Basis.X, Basis.X, Basis.X)
    return tuple(
        SentSetting(basis, float(intensity), float(probability))
        for basis, intensity, probability in zip(
            bases, ladder.intensities, ladder.probabilities, strict=True
        )
    )


def expected_tallies(
    link: ModelledLink, alice: Ladder, bob: Ladder, pulses: int
) -> dict[Outcome, Tally]:
    """Expected counts of a block of `pulses` pairs, float64, by announced outcome.

    Vacuum slots are sent with the X settings, so cells with one s are of Z against X.
    """
    sent = pulses * link.live(alice, bob) * np.outer(alice.probabilities, bob.probabilities)
    a, b = alice.intensities[:, None], bob.intensities[None, :]
    x = gains(link.relay, Basis.X, a[1:], b[:, 1:])
    z = gains(link.relay, Basis.Z, a[:1], b[:, :1])
    z_x = outcome_probabilities(link.relay, Basis.Z, Basis.X, a[:1], b[:, 1:])
    x_z = outcome_probabilities(link.relay, Basis.X, Basis.Z, a[1:], b[:, :1])
    tallies = {}
    for outcome in link.outcomes:
        which = 1 if outcome is Outcome.PSI_MINUS else 0
        gain: Any = np.empty((4, 4))
        errors: Any = np.zeros((4, 4))
        gain[:1, :1] = _of(z, outcome).gain
        gain[1:, 1:], errors[1:, 1:] = _of(x, outcome).gain, _of(x, outcome).errors
        gain[:1, 1:] = z_x[which].mean(axis=(0, 1))
        gain[1:, :1] = x_z[which].mean(axis=(0, 1))
        tallies[outcome] = Tally(pulses, sent * gain, sent * errors)
    return tallies


def expected_leak(link: ModelledLink, alice: Ladder, bob: Ladder, sifted: int) -> int:
    """Bits that error correction of so many bits is taken to disclose: f n h(E), rounded up."""
    error_rate = min(float(link.signal(alice, bob).error_rate), 0.5)
    return math.ceil(link.reconciliation_efficiency * sifted * float(binary_entropy(error_rate)))


def finite_key(
    link: ModelledLink, alice: Ladder, bob: Ladder, pulses: int, security: Security
) -> FiniteKey:
    """Key of a block of `pulses` pairs whose counts are the expected ones.

    Bounds are not tuned for the model: they are what endpoints make of such counts.
    """
    bounds = estimate(expected_tallies(link, alice, bob, pulses), alice, bob, security)
    leak = expected_leak(link, alice, bob, bounds.sifted)
    return FiniteKey(pulses, secret_length(bounds, leak), leak, bounds)


def spare_bits(
    link: ModelledLink, alice: Ladder, bob: Ladder, pulses: int, security: Security
) -> tuple[float, float]:
    """(bits of key that bounds tuned for the model would leave, bits that are spent before).

    Not rounded, and negative where bits are missing: smooth and quick, for a search. No key length.
    """
    tallies = expected_tallies(link, alice, bob, pulses)
    bounds = estimate(tallies, alice, bob, security, expected=tallies, told=False)
    spare = available_bits(bounds, expected_leak(link, alice, bob, bounds.sifted))
    return spare, bounds.private_bits - spare


def _of(bell: BellGains, outcome: Outcome) -> OutcomeGain:
    return bell.psi_minus if outcome is Outcome.PSI_MINUS else bell.psi_plus
