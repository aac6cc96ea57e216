"""The estimate of a block and the length of its key: rules, epsilons, ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_blocks import expected_tally, relay_yields

from bellrelay.distill import bound as bound_module
from bellrelay.distill.estimate import estimate
from bellrelay.distill.key_length import available_bits, secret_length
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.security import LengthRule, Method, OutcomeRule, Security
from bellrelay.distill.tally import Tally
from bellrelay.distill.tuned_bounds import TunedBounds
from bellrelay.wire.outcomes import Outcome

EVEN = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
GOOD = relay_yields(lambda n, m: (0.005 * n * m, 0.02))


def good_tallies(pulses: int = 10**10) -> dict[Outcome, Tally]:
    tally = expected_tally(GOOD, EVEN, EVEN, pulses)
    half = Tally(pulses, np.rint(tally.n / 2).astype(int), np.floor(tally.m / 2).astype(int))
    return {Outcome.PSI_MINUS: half, Outcome.PSI_PLUS: half}


def test_an_estimate_says_what_it_rests_on() -> None:
    security = Security()
    found = estimate(good_tallies(), EVEN, EVEN, security)
    assert found.pulses == 10**10
    assert found.method == "weighted-counts"
    assert "Markov" in found.concentration
    assert found.security is security
    assert found.aborted is None
    assert found.sifted == sum(t.n_z for t in good_tallies().values())
    bound = found.bounds[0]
    assert len(found.bounds) == 1
    assert bound.outcomes == tuple(Outcome)
    assert 0.0 < bound.private_bits < bound.n11_lower < bound.sifted
    assert 0.0 < bound.tangent < 0.5
    assert 0.0 < bound.phase_error_upper <= 0.5


@pytest.mark.parametrize("method", Method)
def test_each_method_names_itself_and_bounds_a_good_block(method: Method) -> None:
    found = estimate(good_tallies(10**11), EVEN, EVEN, Security(method=method))
    assert found.method == method
    assert secret_length(found, 0) > 0
    single = 10**11 * (0.45 * 0.4 * math.exp(-0.4)) ** 2 * 0.005
    assert found.n11_lower <= single
    assert found.phase_error_upper >= 0.02


def test_epsilons_sum_to_what_was_asked_for() -> None:
    ledger = Security(secrecy=3e-9, correctness=1e-12, authentication=1e-13).ledger
    assert ledger.secrecy == pytest.approx(3e-9, rel=1e-12)
    assert ledger.smoothing == pytest.approx(2.0 * math.sqrt(ledger.estimate_failure))
    assert ledger.total == pytest.approx(3e-9 + 1e-12 + 1e-13, rel=1e-12)
    assert ledger.secrecy <= 3e-9 * (1 + 1e-12)


@pytest.mark.parametrize("rule", OutcomeRule)
@pytest.mark.parametrize("method", Method)
def test_failures_of_all_bounds_stay_within_the_ledger(
    monkeypatch: pytest.MonkeyPatch, method: Method, rule: OutcomeRule
) -> None:
    """Whatever is bounded under its own failure probability, the sum is the ledger's."""
    spent: list[float] = []

    def spending(name: str, position: int) -> None:
        function = getattr(bound_module, name)

        def counted(*arguments):  # type: ignore[no-untyped-def]
            spent.append(arguments[position])
            return function(*arguments)

        monkeypatch.setattr(bound_module, name, counted)

    for name in ("double_scanning", "independent_bounds", "program_bounds"):
        spending(name, 3)
    spending("vacuum_lower", 2)
    for name in ("private_bits", "pairs_lower", "phase_errors_upper"):
        method_of = getattr(TunedBounds, name)

        def counted(self, failure, method_of=method_of):  # type: ignore[no-untyped-def]
            spent.append(failure)
            return method_of(self, failure)

        monkeypatch.setattr(TunedBounds, name, counted)
    security = Security(method=method, outcomes=rule)
    estimate(good_tallies(), EVEN, EVEN, security)
    allowed = security.ledger.estimate_failure
    assert sum(spent) <= allowed * (1 + 1e-9)
    assert sum(spent) > 0.9 * allowed


def test_separate_outcomes_have_bounds_of_their_own_and_less_key() -> None:
    pooled = estimate(good_tallies(), EVEN, EVEN, Security())
    separate = estimate(good_tallies(), EVEN, EVEN, Security(outcomes=OutcomeRule.SEPARATE))
    assert [b.outcomes for b in separate.bounds] == [(o,) for o in good_tallies()]
    assert 0.0 < separate.private_bits < pooled.private_bits
    assert separate.ledger == pooled.ledger
    assert separate.phase_error_upper == max(b.phase_error_upper for b in separate.bounds)
    assert separate.n11_lower == sum(b.n11_lower for b in separate.bounds)


@pytest.mark.parametrize("method", Method)
def test_a_block_without_anything_ends_without_bound(method: Method) -> None:
    empty = Tally(10**9, np.zeros((4, 4), int), np.zeros((4, 4), int))
    found = estimate({Outcome.PSI_PLUS: empty}, EVEN, EVEN, Security(method=method))
    assert found.aborted == "no-bound"
    assert (found.private_bits, found.n11_lower, found.phase_error_upper) == (0.0, 0.0, 0.5)
    assert secret_length(found, 0) == 0


def test_what_cannot_be_computed_is_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ArithmeticError("diverged")

    monkeypatch.setattr(TunedBounds, "private_bits", breaks)
    found = estimate(good_tallies(), EVEN, EVEN, Security())
    assert found.aborted == "no-bound"
    assert secret_length(found, 0) == 0


def test_expected_counts_of_a_model_make_the_bound_a_little_better() -> None:
    tallies = good_tallies(2 * 10**9)
    picked = estimate(tallies, EVEN, EVEN, Security())
    tuned = estimate(tallies, EVEN, EVEN, Security(), expected=tallies, told=False)
    # This relay is none of the family: half as much again is what it can cost to be unlike them.
    assert picked.private_bits < tuned.private_bits < 1.6 * picked.private_bits
    assert (tuned.n11_lower, tuned.phase_error_upper) == (0.0, 0.5)


def test_leaks_discarded_bits_and_tags_are_paid_for() -> None:
    found = estimate(good_tallies(), EVEN, EVEN, Security())
    free = secret_length(found, 0, verification_bits=0)
    hashed = 2.0 * math.log2(1.0 / (2.0 * found.ledger.amplification))
    assert free == math.floor(found.private_bits - hashed)
    assert secret_length(found, 1000, verification_bits=0) == free - 1000
    assert secret_length(found, 0, discarded=1000, verification_bits=0) == free - 1000
    assert secret_length(found, 0, verification_bits=64) == free - 64
    assert secret_length(found, 0) == free - 50  # log2(1e15), rounded up
    assert available_bits(found, 10**9) < 0.0
    assert secret_length(found, 10**9) == 0


@given(leak=st.integers(0, 10**6), discarded=st.integers(0, 10**5))
def test_a_length_is_never_rounded_up(leak: int, discarded: int) -> None:
    found = _ESTIMATE
    length = secret_length(found, leak, discarded)
    available = available_bits(found, leak, discarded)
    assert length == max(0, math.floor(available))
    assert 0 <= length <= max(0.0, available)


_ESTIMATE = estimate(good_tallies(), EVEN, EVEN, Security())


def test_the_fixed_rule_gives_its_length_or_nothing() -> None:
    possible = secret_length(_ESTIMATE, 0)
    for fixed, given_out in ((possible, possible), (possible - 1, possible - 1), (possible + 1, 0)):
        security = Security(length_rule=LengthRule.FIXED, fixed_length_bits=fixed)
        found = estimate(good_tallies(), EVEN, EVEN, security)
        assert found.security.length_rule == "fixed"
        assert secret_length(found, 0) == given_out
        assert secret_length(found, 1) == (given_out if fixed < possible else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"secrecy": 0.0},
        {"secrecy": 0.5},
        {"correctness": -1e-10},
        {"authentication": math.nan},
        {"length_rule": "fixed"},
        {"fixed_length_bits": 100},
        {"length_rule": "fixed", "fixed_length_bits": 0},
        {"length_rule": "longest"},
        {"outcomes": "best"},
        {"method": "hope"},
    ],
)
def test_security_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Security(**change)  # type: ignore[arg-type]


def test_counts_that_cannot_be_are_refused() -> None:
    tallies = good_tallies()
    with pytest.raises(ValueError, match="no tally"):
        estimate({}, EVEN, EVEN, Security())
    other = good_tallies(10**11)
    with pytest.raises(ValueError, match="pulses"):
        estimate({**tallies, Outcome.PSI_PLUS: other[Outcome.PSI_PLUS]}, EVEN, EVEN, Security())
    for leak, discarded, tag in ((-1, 0, 0), (0, -1, 0), (0, 10**12, 0), (0, 0, -1)):
        with pytest.raises(ValueError):
            secret_length(_ESTIMATE, leak, discarded, tag)
