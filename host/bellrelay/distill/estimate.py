"""What the relay and an eavesdropper cannot know of a block's sifted key.

Bounds follow from counted events alone: no model of the link, no statistics of the relay.
`docs/reference/security.md` states what they mean and what they assume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bellrelay.physics.entropy import binary_entropy
from bellrelay.wire.outcomes import Outcome

from .four_intensity_bounds import FourIntensityBounds
from .independent_bounds import independent_bounds
from .ladder import Ladder
from .security import Ledger, Method, OutcomeRule, Security
from .tally import Tally, pooled

__all__ = ["Bound", "Estimate", "estimate"]

NO_BOUND = "no-bound"

# Of the failure probability, for each of the three figures that are told but enter no key length.
_TOLD_SHARE = 0.01


@dataclass(frozen=True)
class Bound:
    """What holds of the key bits of one outcome, or of both together.

    All of it holds at once, but with the failure probability of the estimate.

    outcomes: which. sifted: bits, both parties having sent s.
    private_bits: lower bound on n_vacuum + n_11 (1 - h(e_phase)), the entropy of the bits before
        anything is disclosed. The key's length follows from this alone.
    tangent: the phase error rate at which that bound is tangent to n_11 (1 - h), which is where its
        worst case lies; 1/2 where there is none.
    n11_lower: at least so many of the bits come from one photon of each party.
    phase_error_upper: their phase error rate is at most that, 0..1/2.
    vacuum_lower: at least so many of the bits were sent by Alice without a photon.

    With weighted counts, n11_lower (1 - h(phase_error_upper)) is less than private_bits: each of
    the two is the worst by itself, and both at once cannot be.
    """

    outcomes: tuple[Outcome, ...]
    sifted: int
    private_bits: float
    tangent: float
    n11_lower: float
    phase_error_upper: float
    vacuum_lower: float


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
    def private_bits(self) -> float:
        """Of all outcomes."""
        return sum(bound.private_bits for bound in self.bounds)

    @property
    def n11_lower(self) -> float:
        """Of all outcomes."""
        return sum(bound.n11_lower for bound in self.bounds)

    @property
    def vacuum_lower(self) -> float:
        """Of all outcomes."""
        return sum(bound.vacuum_lower for bound in self.bounds)

    @property
    def phase_error_upper(self) -> float:
        """Of all outcomes, 0..1/2: the largest."""
        return max((bound.phase_error_upper for bound in self.bounds), default=0.5)


def estimate(
    tallies: Mapping[Outcome, Tally],
    alice: Ladder,
    bob: Ladder,
    security: Security,
    expected: Mapping[Outcome, Tally] | None = None,
    told: bool = True,
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
    expected
        Counts that were expected *before any setting of the block was known*, of a model or of an
        earlier block, by outcome: weights are tuned for them. They must not come from this block.
        None: a member of a fixed family of links is picked, and paid for.
    told
        Whether to bound also what enters no key length: n11_lower, phase_error_upper, vacuum_lower.
        Without, they say nothing (0, 1/2, 0).

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
    if security.outcomes is OutcomeRule.POOLED:
        groups = [(tuple(tallies), total, pooled(expected) if expected else None)]
    else:
        groups = [((o,), t, expected[o] if expected else None) for o, t in tallies.items()]
    ledger = security.ledger
    share = ledger.estimate_failure / len(groups)
    weighted = security.method is Method.WEIGHTED_COUNTS
    try:
        bounds = tuple(
            _weighted(outcomes, tally, alice, bob, share, tuned, told)
            if weighted
            else _independent(outcomes, tally, alice, bob, share)
            for outcomes, tally, tuned in groups
        )
    except ArithmeticError:
        # Whatever could not be computed bounds nothing.
        bounds = tuple(
            Bound(outcomes, int(tally.n_z), 0.0, 0.5, 0.0, 0.5, 0.0)
            for outcomes, tally, _ in groups
        )
    possible = math.fsum(bound.private_bits for bound in bounds)
    return Estimate(
        total.pulses,
        bounds,
        str(security.method),
        "Markov's inequality on one product of factors"
        if weighted
        else "tails of Poisson variables, inverted exactly",
        security,
        ledger,
        None if possible > 0.0 else NO_BOUND,
    )


def _weighted(
    outcomes: tuple[Outcome, ...],
    tally: Tally,
    alice: Ladder,
    bob: Ladder,
    failure: float,
    expected: Tally | None,
    told: bool,
) -> Bound:
    bounds = FourIntensityBounds(tally, alice, bob, outcomes, expected)
    aside = _TOLD_SHARE * failure
    private, tangent = bounds.private_bits(failure - 3.0 * aside)
    pairs, error_rate, vacuum = 0.0, 0.5, 0.0
    if told:
        pairs = min(bounds.pairs_lower(aside), float(tally.n_z))
        wrong = bounds.phase_errors_upper(aside)
        error_rate = min(0.5, wrong / pairs) if pairs > 0.0 else 0.5
        vacuum = min(bounds.vacuum_lower(aside), float(tally.n_z))
    private = min(max(private, 0.0), float(tally.n_z))
    return Bound(outcomes, int(tally.n_z), private, tangent, pairs, error_rate, vacuum)


def _independent(
    outcomes: tuple[Outcome, ...], tally: Tally, alice: Ladder, bob: Ladder, failure: float
) -> Bound:
    pairs, error_rate = independent_bounds(tally, alice, bob, failure)
    private = pairs * (1.0 - float(binary_entropy(error_rate)))
    return Bound(outcomes, int(tally.n_z), private, error_rate, pairs, error_rate, 0.0)
