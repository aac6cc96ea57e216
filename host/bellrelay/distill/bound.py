"""What is known of the key bits of one tally, by each of the methods."""

from __future__ import annotations

from dataclasses import dataclass

from bellrelay.physics.entropy import binary_entropy
from bellrelay.wire.outcomes import Outcome

from .decoy_closed_form import independent_bounds
from .decoy_linear_program import program_bounds
from .double_scanning import double_scanning
from .four_intensity import four_intensity_bounds, vacuum_lower
from .ladder import Ladder
from .security import Method
from .tally import Tally

__all__ = ["Bound", "bound_tally", "nothing_known"]

# Of the failure probability, for each figure that enters the key length little or not at all.
_SMALL_SHARE = 0.01


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

    With weighted counts and double scanning, n11_lower (1 - h(phase_error_upper)) is less than
    private_bits: each of the two is the worst by itself, and both at once cannot be.
    """

    outcomes: tuple[Outcome, ...]
    sifted: int
    private_bits: float
    tangent: float
    n11_lower: float
    phase_error_upper: float
    vacuum_lower: float


def nothing_known(outcomes: tuple[Outcome, ...], tally: Tally) -> Bound:
    """Bounds that say nothing."""
    return Bound(outcomes, tally.n_z, 0.0, 0.5, 0.0, 0.5, 0.0)


def bound_tally(
    method: Method,
    outcomes: tuple[Outcome, ...],
    tally: Tally,
    alice: Ladder,
    bob: Ladder,
    failure: float,
    expected: Tally | None = None,
    told: bool = True,
    credit_empty: bool = True,
) -> Bound:
    """Bound one tally; all of it is wrong with probability `failure` at most.

    expected, told: see :func:`bellrelay.distill.estimate.estimate`. credit_empty: see
    :class:`~bellrelay.distill.security.Security`; without, n_vacuum is left out of private_bits.
    Raises ArithmeticError where something could not be computed, ValueError where a method does
    not know vacuum with light.
    """
    small = _SMALL_SHARE * failure
    vacuum = min(vacuum_lower(tally, alice, small), float(tally.n_z))
    empty = vacuum if credit_empty else 0.0
    if method is Method.WEIGHTED_COUNTS:
        bounds = four_intensity_bounds(tally, alice, bob, outcomes, expected, credit_empty)
        private, tangent = bounds.private_bits(failure - 3.0 * small)
        pairs, errors = 0.0, 0.0
        if told:
            pairs, errors = bounds.pairs_lower(small), bounds.phase_errors_upper(small)
    elif method is Method.DOUBLE_SCANNING:
        worst = double_scanning(tally, alice, bob, failure - 3.0 * small)
        private = worst.private_bits + empty
        tangent = worst.phase_errors / worst.pairs if worst.pairs > 0.0 else 0.5
        pairs, errors = independent_bounds(tally, alice, bob, 2.0 * small)
    else:
        by_program = method is Method.LINEAR_PROGRAM
        bounded = program_bounds if by_program else independent_bounds
        pairs, errors = bounded(tally, alice, bob, failure - small)
        tangent = min(0.5, errors / pairs) if pairs > 0.0 else 0.5
        private = pairs * (1.0 - float(binary_entropy(tangent))) + empty
    pairs = min(pairs, float(tally.n_z))
    return Bound(
        outcomes,
        tally.n_z,
        min(max(private, 0.0), float(tally.n_z)),
        tangent,
        pairs,
        min(0.5, errors / pairs) if pairs > 0.0 else 0.5,
        vacuum,
    )
