"""A candidate's verdict comes from finished blocks, and is wrong as rarely as is said."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bellrelay.control.canary import TrialBlock, Verdict, judge
from bellrelay.endpoint.block import Cause

SIFTED = 20_000
SPREAD = 0.03


@dataclass(frozen=True)
class Limits:
    min_blocks: int = 5
    key_rate_tolerance: float = 0.02
    qber_tolerance: float = 0.002
    false_decision: float = 0.05
    most_aborts: int = 2
    patience_s: float = 1000.0


LIMITS = Limits()


def blocks(random, count, gain=1.0, more_errors=0.0, share=0.3):
    """Blocks in the order in which they end; of the candidate with this gain and more errors."""
    mine = random.random(count) < share
    drift = 1.0 + 0.1 * np.sin(np.arange(count) / 20.0)
    rate = drift * np.where(mine, gain, 1.0) * random.normal(1.0, SPREAD, count)
    qber = 0.02 + np.where(mine, more_errors, 0.0)
    errors = random.binomial(SIFTED, qber)
    return [
        TrialBlock(bool(m), 10**9, int(1e4 * r), SIFTED, int(e))
        for m, r, e in zip(mine, rate, errors, strict=True)
    ]


def end_of(trial, limits=LIMITS):
    """The verdict at the first look that gives one, or GO_ON; and blocks of the candidate then."""
    for n, block in enumerate(trial, 1):
        if block.candidate:
            found = judge(trial[:n], limits, 0.0)
            if found.verdict is not Verdict.GO_ON:
                return found.verdict, sum(b.candidate for b in trial[:n])
    return Verdict.GO_ON, sum(b.candidate for b in trial)


def share_of(verdict, n, **changes):
    ends = [end_of(blocks(np.random.default_rng(seed), 150, **changes))[0] for seed in range(n)]
    return sum(e is verdict for e in ends) / n


def test_one_at_the_edge_of_what_is_tolerated_is_promoted_as_rarely_as_is_said():
    """At the edge of both, and of one alone. The sample is so large that five standard deviations
    above the stated probability are what no honest run shows."""
    n = 200
    most = LIMITS.false_decision + 5 * np.sqrt(LIMITS.false_decision / n)
    for gain, more in ((0.98, 0.0), (1.2, 0.002)):
        assert share_of(Verdict.PROMOTE, n, gain=gain, more_errors=more) < most
    # The sample can tell: without a tolerance spent, one as good as the others is promoted.
    assert share_of(Verdict.PROMOTE, 40, gain=1.05) > 0.9


def test_one_at_the_edge_is_taken_back_as_rarely_as_is_said():
    n = 200
    most = LIMITS.false_decision + 5 * np.sqrt(LIMITS.false_decision / n)
    assert share_of(Verdict.ROLL_BACK, n, gain=0.98, more_errors=0.002) < most
    assert share_of(Verdict.ROLL_BACK, 40, gain=0.85) > 0.9
    assert share_of(Verdict.ROLL_BACK, 40, more_errors=0.006) > 0.9


@pytest.mark.parametrize(("gain", "more"), [(0.5, 0.0), (1.0, 0.05)])
def test_what_is_much_worse_goes_after_the_least_number_of_blocks(gain, more):
    ends = [
        end_of(blocks(np.random.default_rng(seed), 150, gain=gain, more_errors=more))
        for seed in range(20)
    ]
    assert {e[0] for e in ends} == {Verdict.ROLL_BACK}
    assert np.median([e[1] for e in ends]) <= LIMITS.min_blocks + 2


def test_blocks_of_the_others_alone_are_no_new_look():
    """Asked again and again between two blocks of the candidate, it says the same."""
    trial = blocks(np.random.default_rng(3), 60, gain=1.0)
    last = max(i for i, b in enumerate(trial) if b.candidate)
    others = [replace(b, key_bits=0) for b in trial if not b.candidate]
    one, other = (
        judge(trial[: last + 1], LIMITS, 0.0),
        judge(trial[: last + 1] + others, LIMITS, 0.0),
    )
    assert one.evidence == other.evidence


def test_aborts_that_may_be_its_own_count_and_others_do_not():
    relays = [
        TrialBlock(candidate=True, cause=str(c))
        for c in (Cause.NOT_COLLECTED, Cause.TIMEOUT, Cause.UNMEASURED)
    ]
    own = [TrialBlock(candidate=True, cause=str(Cause.INTENSITY))] * 3
    assert judge(relays * 10, LIMITS, 0.0).verdict is Verdict.GO_ON
    assert judge(own[:2], LIMITS, 0.0).verdict is Verdict.GO_ON
    found = judge(own, LIMITS, 0.0)
    assert found.verdict is Verdict.ROLL_BACK
    assert found.reason == "3 of its blocks ended without key: intensity-not-guaranteed"
    others = [replace(b, candidate=False) for b in own]
    assert judge(others * 5, LIMITS, 0.0).verdict is Verdict.GO_ON


def test_nothing_in_time_is_no_success():
    assert judge([], LIMITS, 999.0).verdict is Verdict.GO_ON
    found = judge([], LIMITS, 1001.0)
    assert found.verdict is Verdict.ROLL_BACK
    assert found.reason == "not shown to be as good in time: 0 blocks in 1001 s"


def test_equal_blocks_without_an_error_are_judged_with_the_variance_of_counting():
    """No spread at all between blocks is no certainty about the error rate."""
    one = TrialBlock(candidate=True, pulses=10**9, key_bits=10**4, sifted=100, errors=0)
    same = [replace(one, candidate=False), one] * 5
    assert judge(same, LIMITS, 0.0).verdict is Verdict.GO_ON
    many = [replace(b, sifted=10**6) for b in same]
    assert judge(many, LIMITS, 0.0).verdict is Verdict.PROMOTE
