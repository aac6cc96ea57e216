"""What the relay and an eavesdropper cannot know of a block's sifted key.

Bounds follow from counted events alone: no model of the link, no statistics of the relay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bellrelay.physics.entropy import binary_entropy
from bellrelay.wire.outcomes import Outcome

from .independent_bounds import independent_bounds
from .ladder import Ladder
from .security import Ledger, OutcomeRule, Security
from .tally import Tally, pooled

__all__ = ["Bound", "Estimate", "estimate"]


@dataclass(frozen=True)
class Bound:
    """What holds of the key bits of one outcome, or of both together.

    outcomes: which. sifted: bits, both parties having sent s.
    n11_lower: of them, at least so many from one photon of each party.
    phase_error_upper: their phase error rate is at most that, 0..1/2.
    vacuum_lower: of them, at least so many where Alice sent no photon.
    private_bits: lower bound on the smooth min-entropy of the bits, before anything is disclosed.
    """

    outcomes: tuple[Outcome, ...]
    sifted: int
    n11_lower: float
    phase_error_upper: float
    vacuum_lower: float
    private_bits: float


@dataclass(frozen=True)
class Estimate:
    """Bounds of a block.

    pulses: N. bounds: one of all outcomes together or one of each. method, concentration: what was
    used, in words for the statement. ledger: the epsilons. aborted: why there can be no key, or
    None.
    """

    pulses: int
    bounds: tuple[Bound, ...]
    method: str
    concentration: str
    security: Security
    ledger: Ledger
    aborted: str | None = None

    @property
    def sifted(self) -> int:
        """Bits of the sifted key."""
        return sum(bound.sifted for bound in self.bounds)

    @property
    def n11_lower(self) -> float:
        """Of all outcomes."""
        return sum(bound.n11_lower for bound in self.bounds)

    @property
    def private_bits(self) -> float:
        """Of all outcomes."""
        return sum(bound.private_bits for bound in self.bounds)

    @property
    def phase_error_upper(self) -> float:
        """Of all outcomes, weighted with their single-photon pairs."""
        total = self.n11_lower
        if total <= 0.0:
            return 0.5
        return sum(bound.n11_lower * bound.phase_error_upper for bound in self.bounds) / total


def estimate(
    tallies: Mapping[Outcome, Tally], alice: Ladder, bob: Ladder, security: Security
) -> Estimate:
    """Bound a block from its counts.

    Parameters
    ----------
    tallies
        By outcome, of the same pulses, as :func:`~bellrelay.distill.tally.tally` counts them.
    alice, bob
        What they were declared to send.
    security
        Epsilons and rules, fixed before the block.

    Returns
    -------
    Bounds that hold but with the probability that the ledger states; `aborted` where they allow no
    key whatever error correction discloses.

    Raises
    ------
    ValueError
        There is no tally, or they are of different pulses.
    """
    total = pooled(tallies)
    ledger = security.ledger
    if security.outcomes is OutcomeRule.POOLED:
        groups: list[tuple[tuple[Outcome, ...], Tally]] = [(tuple(tallies), total)]
    else:
        groups = [((outcome,), each) for outcome, each in tallies.items()]
    share = ledger.estimate_failure / len(groups)
    bounds = []
    for outcomes, counts in groups:
        n11, error = independent_bounds(counts, alice, bob, share)
        bounds.append(
            Bound(
                outcomes,
                counts.n_z,
                n11,
                error,
                0.0,
                n11 * (1.0 - float(binary_entropy(error))),
            )
        )
    result = Estimate(
        total.pulses,
        tuple(bounds),
        "independent constraints",
        "Poisson tails, inverted exactly",
        security,
        ledger,
    )
    if result.private_bits <= 0.0:
        return Estimate(
            **{
                **{f: getattr(result, f) for f in result.__dataclass_fields__},
                "aborted": "no-bound",
            }
        )
    return result
