"""The check of a run: announced outcomes against what both sources say that they sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.sift import BASIS_X, BASIS_Z, sift
from bellrelay.physics import Basis, gains
from bellrelay.wire.outcomes import Outcome
from bellrelay_sim.choices import Party
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.source import Source

__all__ = ["BasisTally", "SourceCheck"]

_BASES = {"Z": BASIS_Z, "X": BASIS_X}
_SIGMAS = 5.0
_AFTERPULSE_SHARE = 0.02
"""The closed forms know no afterpulses: clicks that are none of the pulses' add errors of 1/2."""


@dataclass
class BasisTally:
    """Sifted bits of one basis, both sources having sent light.

    expected : error rate that the closed forms give for this link.
    """

    bits: int = 0
    errors: int = 0
    expected: float = math.nan

    @property
    def error_rate(self) -> float:
        """Nan without a bit."""
        return self.errors / self.bits if self.bits else math.nan

    @property
    def plausible(self) -> bool:
        """Whether the rate is within 5 sigma of the expected one, afterpulses allowed for.

        True without a bit: there is nothing to object to.
        """
        if not self.bits:
            return True
        sigma = math.sqrt(self.expected * (1 - self.expected) / self.bits)
        return abs(self.error_rate - self.expected) <= _SIGMAS * sigma + _AFTERPULSE_SHARE / 2


@dataclass
class SourceCheck:
    """Tallies errors of announced slots against the source logs of a simulated link.

    Vacuum settings are left out: their bits are random by nature.

    Attributes
    ----------
    announced : dict of Outcome to int
        Announcements taken, by outcome.
    tallies : dict of str to BasisTally
        By basis, ``Z`` and ``X``.
    """

    link: SimulatedLink
    announced: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    tallies: dict[str, BasisTally] = field(init=False)

    def __post_init__(self) -> None:
        self._alice = self.link.source_log(Party.ALICE)
        self._bob = self.link.source_log(Party.BOB)
        self._light_a = self.link.alice.intensities > 0
        self._light_b = self.link.bob.intensities > 0
        self.tallies = {name: BasisTally(expected=self._expected(name)) for name in _BASES}

    def add(self, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]) -> None:
        """Take announcements: (n,) uint64 slots, (n,) uint8 outcomes."""
        for kind in Outcome:
            self.announced[kind] += int(np.count_nonzero(outcome == kind))
        a, b = self._alice.choices_at(slot), self._bob.choices_at(slot)
        light = self._light_a[a.intensity] & self._light_b[b.intensity]
        sifted = sift(outcome[light], a.basis[light], a.bit[light], b.basis[light], b.bit[light])
        for name, basis in _BASES.items():
            errors, bits = sifted.errors(basis)
            self.tallies[name].errors += errors
            self.tallies[name].bits += bits

    def _expected(self, name: str) -> float:
        basis = Basis[name]
        model = self.link.relay_model()
        gain = wrong = 0.0
        for mu_a, p_a in _lit(self.link.alice, basis):
            for mu_b, p_b in _lit(self.link.bob, basis):
                both = gains(model, basis, mu_a, mu_b).both
                gain += p_a * p_b * float(both.gain)
                wrong += p_a * p_b * float(both.errors)
        return wrong / gain if gain else math.nan


def _lit(source: Source, basis: Basis) -> Sequence[tuple[float, float]]:
    """(intensity, probability per slot) of the settings with light in a basis."""
    out = []
    for s in source.settings:
        share = s.z_probability if basis is Basis.Z else 1 - s.z_probability
        if s.intensity > 0 and s.probability * share > 0:
            out.append((s.intensity, s.probability * share))
    return out
