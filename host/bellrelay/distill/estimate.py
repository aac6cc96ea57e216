"""What the relay and an eavesdropper cannot know of a block's sifted key.

Bounds follow from counted events alone: no model of the link, no statistics of the relay.
`docs/reference/security.md` states what they mean and what they assume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bellrelay.wire.outcomes import Outcome

from .bound import Bound, bound_tally, nothing_known
from .ladder import Ladder
from .security import Ledger, Method, OutcomeRule, Security
from .tally import Tally, pooled

__all__ = ["Bound", "Estimate", "estimate"]

NO_BOUND = "no-bound"

_CONCENTRATION = {
    Method.WEIGHTED_COUNTS: "Markov's inequality on one product of factors",
    Method.DOUBLE_SCANNING: "tails of Poisson variables, inverted exactly, of joint counts",
    Method.LINEAR_PROGRAM: "tails of Poisson variables, inverted exactly, of single counts",
    Method.CLOSED_FORM: "tails of Poisson variables, inverted exactly, of single counts",
}


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
        Whether to bound also what enters no key length with weighted counts: n11_lower and
        phase_error_upper. Without, they say nothing (0 and 1/2).

    Returns
    -------
    Bounds that hold but with the probability that the ledger states; `aborted` where they allow no
    key whatever error correction discloses.

    Raises
    ------
    ValueError
        There is no tally, they are of different pulses, or the method does not know a vacuum with
        light.
    """
    total = pooled(tallies)
    if security.outcomes is OutcomeRule.POOLED:
        groups = [(tuple(tallies), total, pooled(expected) if expected else None)]
    else:
        groups = [((o,), t, expected[o] if expected else None) for o, t in tallies.items()]
    ledger = security.ledger
    share = ledger.estimate_failure / len(groups)
    try:
        bounds = tuple(
            bound_tally(
                security.method,
                outcomes,
                tally,
                alice,
                bob,
                share,
                tuned,
                told,
                security.credit_empty,
            )
            for outcomes, tally, tuned in groups
        )
    except ArithmeticError:
        # Whatever could not be computed bounds nothing.
        bounds = tuple(nothing_known(outcomes, tally) for outcomes, tally, _ in groups)
    possible = math.fsum(bound.private_bits for bound in bounds)
    return Estimate(
        total.pulses,
        bounds,
        str(security.method),
        _CONCENTRATION[security.method],
        security,
        ledger,
        None if possible > 0.0 else NO_BOUND,
    )
