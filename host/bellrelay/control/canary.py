"""Whether a candidate's blocks are as good as the others': a sequential comparison.

Blocks of candidate and current parameters take turns, so that whatever else the link does, it does
to both. Compared are key per pulse and error rate in Z, block by block. After every new block of
the candidate, from a least number on, four one-sided bounds are looked at, each from means and
sample variances of both (Welch's t; the variance of an error rate is at least a binomial's):

    worse by more than the tolerance in either: it goes;
    not worse by that much in both: it is promoted;
    else it goes on, until its time is over, and then it goes, too.

The looks spend the probability p of a false decision as p / (k (k + 1)) in the k-th, which adds up
to p however long it goes on. So a candidate within both tolerances is taken back for them with a
probability of at most p (half for each quantity), and one beyond either is promoted with at most p.
That is as exact as a block's key and errors are normal: they are sums over many events.

Without any test a candidate goes when more of its blocks end without key than are allowed, for a
cause that may be its own: wrong or unmeasured intensities, no bound, no key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bellrelay.endpoint.block import Cause

__all__ = ["Judgement", "TrialBlock", "TrialLimits", "Verdict", "judge"]

_OWN_CAUSES = frozenset(
    {
        Cause.SOURCE_RECORD,
        Cause.RANDOM_HEALTH,
        Cause.INTENSITY,
        Cause.PARAMETERS,
        Cause.TALLIES_DIFFER,
        Cause.NO_BOUND,
        Cause.NO_KEY,
        Cause.RECONCILIATION,
        Cause.VERIFICATION,
        Cause.LEDGERS_DIFFER,
        Cause.FAULT,
    }
)
"""Why blocks end that other intensities may be to blame for. A relay that breaks the rules, a peer
that is gone, a broken line are not; nor that a power monitor has seen too little of them yet."""

_Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What becomes of a candidate."""

    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    GO_ON = "go-on"


@dataclass(frozen=True)
class TrialBlock:
    """A block that ended during the trial.

    candidate : whether it was sent by its parameters. pulses, key_bits, sifted, errors : of one
    with key; cause : of one without.
    """

    candidate: bool
    pulses: int = 0
    key_bits: int = 0
    sifted: int = 0
    errors: int = 0
    cause: str = ""


class TrialLimits(Protocol):
    """What `changes:` of an endpoint's configuration says."""

    @property
    def min_blocks(self) -> int: ...
    @property
    def key_rate_tolerance(self) -> float: ...
    @property
    def qber_tolerance(self) -> float: ...
    @property
    def false_decision(self) -> float: ...
    @property
    def most_aborts(self) -> int: ...
    @property
    def patience_s(self) -> float: ...


@dataclass(frozen=True)
class Judgement:
    """A verdict, why, and the numbers that it stands on: plain values."""

    verdict: Verdict
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Arm:
    """Of one side's blocks: key per pulse and error rate, (n,) each.

    error_floor : least variance of an error rate.
    """

    key_rate: _Floats
    error_rate: _Floats
    error_floor: float

    @classmethod
    def of(cls, blocks: Sequence[TrialBlock]) -> _Arm:
        sifted = np.array([b.sifted for b in blocks], np.float64)
        errors = np.array([b.errors for b in blocks], np.float64)
        share = (errors.sum() + 1.0) / (sifted.sum() + 2.0)
        return cls(
            np.array([b.key_bits / b.pulses for b in blocks], np.float64),
            errors / np.maximum(sifted, 1.0),
            float(share * (1.0 - share) / max(sifted.mean(), 1.0)) if len(blocks) else 0.0,
        )

    @property
    def blocks(self) -> int:
        return len(self.key_rate)

    def told(self, aborted: int) -> dict[str, Any]:
        rate, error = self.key_rate, self.error_rate
        return {
            "blocks": self.blocks,
            "aborted": aborted,
            "key_rate": float(rate.mean()) if self.blocks else None,
            "qber": float(error.mean()) if self.blocks else None,
        }


def judge(blocks: Sequence[TrialBlock], limits: TrialLimits, age_s: float) -> Judgement:
    """What becomes of a candidate now.

    Parameters
    ----------
    blocks
        All that have ended since the trial began, in that order. A look is taken at every one of
        the candidate's: those of the others that came after its last wait for the next.
    age_s
        Since the trial began.
    """
    upto = max((i for i, b in enumerate(blocks) if b.candidate and not b.cause), default=-1) + 1
    kept = [
        [b for b in blocks[:upto] if b.candidate == mine and not b.cause] for mine in (True, False)
    ]
    aborted = [
        sum(b.candidate == mine and b.cause in _OWN_CAUSES for b in blocks)
        for mine in (True, False)
    ]
    candidate, current = (_Arm.of(side) for side in kept)
    evidence: dict[str, Any] = {
        "candidate": candidate.told(aborted[0]),
        "current": current.told(aborted[1]),
    }
    if aborted[0] > limits.most_aborts:
        causes = sorted({b.cause for b in blocks if b.candidate and b.cause in _OWN_CAUSES})
        reason = f"{aborted[0]} of its blocks ended without key: {', '.join(causes)}"
        return Judgement(Verdict.ROLL_BACK, reason, evidence)
    enough = min(candidate.blocks, current.blocks) >= limits.min_blocks
    if enough:
        looks = candidate.blocks - limits.min_blocks + 1
        share = limits.false_decision / (looks * (looks + 1))
        rate, error = _margins(candidate, current, limits)
        evidence |= {"look": looks, "probability": share}
        for name, margin in (("key rate", rate), ("QBER", error)):
            if margin.below(share / 2.0):
                return Judgement(Verdict.ROLL_BACK, _worse(name, evidence), evidence)
        if rate.above(share) and error.above(share):
            return Judgement(Verdict.PROMOTE, _as_good(evidence), evidence)
    if age_s > limits.patience_s:
        blocks_so_far = f"{candidate.blocks} blocks in {age_s:.0f} s"
        reason = f"not shown to be as good in time: {blocks_so_far}"
        return Judgement(Verdict.ROLL_BACK, reason, evidence)
    return Judgement(Verdict.GO_ON, "not decided yet", evidence)


@dataclass(frozen=True)
class _Margin:
    """How far above its limit a candidate is: an estimate, its standard error, its freedom."""

    value: float
    error: float
    freedom: float

    def _reach(self, alpha: float) -> float:
        return -float(stdtrit(self.freedom, alpha)) * self.error

    def above(self, alpha: float) -> bool:
        """Whether it is above 0, but with this probability."""
        return self.value - self._reach(alpha) > 0.0

    def below(self, alpha: float) -> bool:
        """Whether it is below 0, but with this probability."""
        return self.value + self._reach(alpha) < 0.0


def _margins(candidate: _Arm, current: _Arm, limits: TrialLimits) -> tuple[_Margin, _Margin]:
    """Of the key rate and of the error rate; above 0 is within the tolerance."""
    least = 1.0 - limits.key_rate_tolerance
    rate = _margin(candidate.key_rate, least * current.key_rate, 0.0, 0.0)
    floors = candidate.error_floor, current.error_floor
    error = _margin(-candidate.error_rate, -current.error_rate, *floors)
    return rate, _Margin(error.value + limits.qber_tolerance, error.error, error.freedom)


def _margin(mine: _Floats, other: _Floats, floor_mine: float, floor_other: float) -> _Margin:
    parts = [
        max(float(values.var(ddof=1)), floor) / len(values)
        for values, floor in ((mine, floor_mine), (other, floor_other))
    ]
    total = sum(parts)
    spread = sum(p**2 / (len(v) - 1) for p, v in zip(parts, (mine, other), strict=True))
    freedom = total**2 / spread if spread > 0.0 else float(min(len(mine), len(other)) - 1)
    return _Margin(float(mine.mean() - other.mean()), math.sqrt(total), freedom)


def _numbers(evidence: Mapping[str, Any]) -> str:
    mine, other = evidence["candidate"], evidence["current"]
    return (
        f"key per pulse {mine['key_rate']:.4g} against {other['key_rate']:.4g}, QBER "
        f"{mine['qber']:.3%} against {other['qber']:.3%}, in {mine['blocks']} and "
        f"{other['blocks']} blocks"
    )


def _worse(what: str, evidence: Mapping[str, Any]) -> str:
    return f"its {what} is worse: {_numbers(evidence)}"


def _as_good(evidence: Mapping[str, Any]) -> str:
    return f"as good or better: {_numbers(evidence)}"
