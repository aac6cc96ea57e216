"""What security a block must have, and how its epsilons are composed.

Everything here is fixed before the data of a block are seen. `docs/reference/security.md` is the
statement that these numbers belong to.

A key of a block is (secrecy + correctness + authentication)-secure. Secrecy is spent as

    secrecy = 2 sqrt(eta) + amplification

where eta bounds the probability that the estimate of the block is wrong: with phase errors it
enters a trace distance by its root (M. Tomamichel et al., Nat. Commun. 3, 634 (2012); D. Tupkary
et al., arXiv:2408.17349), and `amplification` is the leftover hash's own part.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Ledger", "LengthRule", "Method", "OutcomeRule", "Security"]

# The rest of secrecy belongs to the estimate, where it buys more: a tenth here costs 7 bits of key.
_AMPLIFICATION_SHARE = 0.1


class LengthRule(StrEnum):
    """How long the key of a block may be."""

    VARIABLE = "variable"
    """As long as the data allow."""
    FIXED = "fixed"
    """`Security.fixed_length_bits`, or nothing where the data do not allow that."""


class OutcomeRule(StrEnum):
    """Whether the two Bell outcomes share one bound."""

    POOLED = "pooled"
    SEPARATE = "separate"


class Method(StrEnum):
    """How counts become bounds."""

    WEIGHTED_COUNTS = "weighted-counts"
    """One weighted sum of all counts: the tightest."""
    DOUBLE_SCANNING = "double-scanning"
    """Closed forms with joint constraints, pairs and errors at their worst together."""
    LINEAR_PROGRAM = "linear-program"
    """All that intervals of all counts say of pairs, and of errors, each by itself."""
    CLOSED_FORM = "closed-form"
    """Closed forms of counts that are bounded one by one."""


@dataclass(frozen=True)
class Ledger:
    """Epsilons of one block, by what they pay for.

    estimate_failure: probability eta that any bound is wrong, all of them together.
    smoothing: 2 sqrt(eta), what that costs in secrecy. amplification: of the leftover hash.
    correctness: that the two keys differ. authentication: that a forgery passed.
    """

    estimate_failure: float
    smoothing: float
    amplification: float
    correctness: float
    authentication: float

    @property
    def secrecy(self) -> float:
        """Epsilon of secrecy."""
        return self.smoothing + self.amplification

    @property
    def total(self) -> float:
        """Epsilon of the key: of secrecy, correctness and authentication."""
        return self.secrecy + self.correctness + self.authentication


@dataclass(frozen=True)
class Security:
    """Epsilons and rules of a block.

    secrecy, correctness, authentication: epsilons, 0 < epsilon < 1/2.
    length_rule, fixed_length_bits: the latter with FIXED, and only then.
    outcomes: one bound on both Bell outcomes, or one on each, sharing the epsilons.
    method: of the bounds.
    credit_empty: whether bits that Alice sent without a photon count as private. Not where error
        correction tells in which bits the two differ: whoever sent Bob's bit then knows hers.

    Raises ValueError naming what is out of range.
    """

    secrecy: float = 1e-10
    correctness: float = 1e-15
    authentication: float = 1e-15
    length_rule: LengthRule = LengthRule.VARIABLE
    fixed_length_bits: int | None = None
    outcomes: OutcomeRule = OutcomeRule.POOLED
    method: Method = Method.WEIGHTED_COUNTS
    credit_empty: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "length_rule", LengthRule(self.length_rule))
        object.__setattr__(self, "outcomes", OutcomeRule(self.outcomes))
        object.__setattr__(self, "method", Method(self.method))
        for name in ("secrecy", "correctness", "authentication"):
            if not 0.0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} must lie between 0 and 1/2, got {getattr(self, name)}")
        if (self.length_rule is LengthRule.FIXED) != (self.fixed_length_bits is not None):
            raise ValueError("fixed_length_bits belongs to the fixed length rule, and to it alone")
        if self.fixed_length_bits is not None and self.fixed_length_bits < 1:
            raise ValueError(f"fixed_length_bits must be positive, got {self.fixed_length_bits}")

    @property
    def ledger(self) -> Ledger:
        """How the epsilons are spent."""
        amplification = _AMPLIFICATION_SHARE * self.secrecy
        smoothing = self.secrecy - amplification
        return Ledger(
            estimate_failure=(smoothing / 2.0) ** 2,
            smoothing=smoothing,
            amplification=amplification,
            correctness=self.correctness,
            authentication=self.authentication,
        )
