"""Rules of the security statement that estimation keeps: one test each that breaks the rule.

The numbers are those of docs/reference/security-rules.md.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import fields

import numpy as np
import pytest
from known_blocks import draw, expected_tally, link_yields, relay_yields

from bellrelay.distill import decoy_closed_form
from bellrelay.distill.estimate import estimate
from bellrelay.distill.key_length import secret_length
from bellrelay.distill.ladder import MU, NU, Ladder, O, S
from bellrelay.distill.security import LengthRule, Method, OutcomeRule, Security
from bellrelay.distill.tally import Tally, key_mask, pooled, tally
from bellrelay.physics import Basis, RelayModel, gains
from bellrelay.wire.outcomes import Outcome

EVEN = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
GOOD = relay_yields(lambda n, m: (0.005 * n * m, 0.02))
SHORT = RelayModel(
    eta_a=0.1, eta_b=0.1, dark_count_probability=1e-7, misalignment_x=0.005, mode_overlap=0.98
)
ALL_METHODS = tuple(Method)


def one(tally_: Tally) -> dict[Outcome, Tally]:
    return {Outcome.PSI_MINUS: tally_}


def key_of(tally_: Tally, ladder: Ladder = EVEN, **security: object) -> int:
    found = estimate(one(tally_), ladder, ladder, Security(**security))  # type: ignore[arg-type]
    return secret_length(found, 0)


def test_rule_1_only_bits_of_both_signals_make_key() -> None:
    settings = np.arange(16, dtype=np.uint8)
    mask = key_mask(settings // 4, settings % 4)
    assert np.flatnonzero(mask).tolist() == [4 * S + S]
    # Bits of X and of decoys are never counted as sifted key, however many there are.
    good = expected_tally(GOOD, EVEN, EVEN, 10**10)
    more = good.n.copy()
    more[MU, S] *= 10
    more[NU, NU] += 10**6
    assert Tally(good.pulses, more, good.m).n_z == good.n_z


@pytest.mark.parametrize("method", ALL_METHODS)
def test_rule_2_a_relay_that_measures_z_leaves_no_key(method: Method) -> None:
    """Bits agree in Z without a single error; only X shows that they are known."""
    measured = relay_yields(lambda n, m: (0.005 * n * m, 0.5))
    assert key_of(expected_tally(measured, EVEN, EVEN, 10**12), method=method) == 0
    assert key_of(expected_tally(GOOD, EVEN, EVEN, 10**12), method=method) > 10**6


@pytest.mark.parametrize("method", ALL_METHODS)
def test_rule_3_bounds_follow_from_counts_and_not_from_what_a_link_should_give(
    method: Method,
) -> None:
    """Expecting a good link makes no key of the counts of a bad one."""
    measured = one(
        expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.5)), EVEN, EVEN, 10**12)
    )
    hoped = one(expected_tally(GOOD, EVEN, EVEN, 10**12))
    found = estimate(measured, EVEN, EVEN, Security(method=method), expected=hoped)
    assert secret_length(found, 0) == 0


def test_rule_4_every_interval_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each count in its bad direction, failures summed: not n sigma. More intervals, less key."""
    good = expected_tally(GOOD, EVEN, EVEN, 10**11)
    epsilons = []
    original = decoy_closed_form.mean_upper
    monkeypatch.setattr(
        decoy_closed_form, "mean_upper", lambda n, e: epsilons.append(e) or original(n, e)
    )
    pairs, _ = decoy_closed_form.independent_bounds(good, EVEN, EVEN, 1e-20)
    assert set(epsilons) == {1e-20 / decoy_closed_form.INDEPENDENT_BOUNDS}
    # Six sigma and a half, as it is sometimes done, would claim more.
    monkeypatch.setattr(decoy_closed_form, "mean_upper", lambda n, e: n + 6.5 * math.sqrt(n))
    monkeypatch.setattr(decoy_closed_form, "mean_lower", lambda n, e: n - 6.5 * math.sqrt(n))
    assert decoy_closed_form.independent_bounds(good, EVEN, EVEN, 1e-20)[0] > pairs


def test_rule_4_every_cell_that_moves_in_its_bad_direction_costs_key() -> None:
    good = expected_tally(GOOD, EVEN, EVEN, 10**11)
    best = key_of(good)
    for cell, factor in {
        (NU, NU): 0.95,
        (MU, MU): 1.05,
        (NU, O): 50.0,
        (O, NU): 50.0,
        (MU, O): 0.0,
        (O, MU): 0.0,
    }.items():
        n, m = good.n.copy(), good.m.copy()
        n[cell] = n[cell] * factor + (20_000 if factor > 10 else 0)
        m[cell] = min(m[cell], n[cell])
        moved = key_of(Tally(good.pulses, n, m))
        # What is zero already cannot fall.
        assert moved < best or good.n[cell] == 0, cell


def test_rule_5_errors_are_those_of_x_alone() -> None:
    good = expected_tally(GOOD, EVEN, EVEN, 10**11)
    m = good.m.copy()
    m[S, S] = 1
    with pytest.raises(ValueError, match="not disclosed"):
        Tally(good.pulses, good.n, m)
    worse = good.m.copy()
    worse[NU, NU] *= 1.5
    assert key_of(Tally(good.pulses, good.n, worse)) < key_of(good)


def test_rule_6_how_many_pulses_were_sent_is_not_the_relays_to_say() -> None:
    """No count of the relay enters, and the bound rests on announced events: an N that is wrong by
    two orders changes what the weights are tuned for, and never makes a key longer than it may be.
    """
    good = expected_tally(GOOD, EVEN, EVEN, 10**11)
    right = estimate(one(good), EVEN, EVEN, Security())
    for factor in (10, 100):
        other = Tally(factor * good.pulses, good.n, good.m)
        found = estimate(one(other), EVEN, EVEN, Security())
        assert found.private_bits == pytest.approx(right.private_bits, rel=0.02)
    with pytest.raises(ValueError, match="more announced"):
        Tally(int(good.n.sum()) - 1, good.n, good.m)


def test_rule_7_vacuum_counts_with_the_basis_of_the_other_party() -> None:
    """Vacuum against a decoy differs from vacuum against the signal by orders of magnitude; the
    cells are by setting, and taking the one for the other changes what is bounded.
    """
    in_x = float(gains(SHORT, Basis.X, 0.0, 0.3).both.gain)
    in_z = float(gains(SHORT, Basis.Z, 0.0, 0.3).both.gain)
    assert in_x > 1000.0 * in_z
    one_bit, n = np.zeros(2, np.uint8), np.ones(2, np.uint8)
    counts = tally(n, np.array([O, O], np.uint8), one_bit, np.array([S, NU], np.uint8), one_bit, 9)
    assert counts[Outcome.PSI_MINUS].n[O, S] == counts[Outcome.PSI_MINUS].n[O, NU] == 1
    short = expected_tally(link_yields(SHORT), EVEN, EVEN, 10**11)
    swapped = short.n.copy()
    swapped[O, NU], swapped[NU, O] = short.n[O, S], short.n[S, O]
    false = Tally(short.pulses, swapped, np.minimum(short.m, swapped))
    found = estimate(one(false), EVEN, EVEN, Security(method=Method.CLOSED_FORM))
    true = estimate(one(short), EVEN, EVEN, Security(method=Method.CLOSED_FORM))
    assert found.n11_lower > 1.05 * true.n11_lower


@pytest.mark.parametrize("method", ALL_METHODS)
def test_rule_8_an_intensity_off_its_declaration_must_be_declared(method: Method) -> None:
    """nu five per cent brighter than declared: the bound passes the truth, unless the deviation is
    declared. A vacuum that leaks unreported is safe.
    """
    pulses = 10**14
    rng = np.random.default_rng(1)
    brighter = EVEN.intensities * np.array([1.0, 1.0, 1.05, 1.0])
    leaking = EVEN.intensities + np.array([0.0, 0.0, 0.0, 1e-3])
    yields = link_yields(SHORT)

    def bounded(sent: np.ndarray, deviation: float) -> float:
        n, m, truth = draw(rng, yields, EVEN, EVEN, pulses, 1, Outcome.PSI_MINUS, (sent, sent))
        ladder = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation)
        found = estimate(one(Tally(pulses, n[0], m[0])), ladder, ladder, Security(method=method))
        return found.n11_lower / float(truth.pairs[0])

    assert bounded(brighter, 0.0) > 1.05
    assert 0.3 < bounded(brighter, 0.05) < 1.0
    assert 0.5 < bounded(leaking, 0.0) < 1.0


def test_rule_13_nothing_that_the_relay_reports_of_itself_enters_a_bound() -> None:
    arguments = set(inspect.signature(estimate).parameters)
    assert arguments == {"tallies", "alice", "bob", "security", "expected", "told"}
    assert {field.name for field in fields(Tally)} == {"pulses", "n", "m"}


def test_rule_15_bits_that_are_given_up_count_as_private_ones() -> None:
    """A frame that failed takes all its bits from the bound, not its share of it."""
    found = estimate(one(expected_tally(GOOD, EVEN, EVEN, 10**11)), EVEN, EVEN, Security())
    whole = secret_length(found, 10_000)
    lost = 100_000
    assert secret_length(found, 10_000, discarded=lost) == whole - lost
    in_proportion = whole - lost * found.private_bits / found.sifted
    assert secret_length(found, 10_000, discarded=lost) < in_proportion
    assert secret_length(found, 10_001) == whole - 1


def test_rule_16_errors_of_z_cannot_be_chosen_to_enter_a_bound() -> None:
    """What is learnt of Z comes after the bound, and what a sample discloses leaves the key."""
    assert "m_z" not in {field.name for field in fields(Tally)}
    found = estimate(one(expected_tally(GOOD, EVEN, EVEN, 10**11)), EVEN, EVEN, Security())
    sample = 5_000
    assert secret_length(found, 0, discarded=sample) == secret_length(found, 0) - sample
    with pytest.raises(ValueError):
        secret_length(found, 0, discarded=found.sifted + 1)


def test_rule_18_a_length_is_of_the_whole_block_and_no_length_is_no_key() -> None:
    whole = expected_tally(GOOD, EVEN, EVEN, 2 * 10**10)
    half = Tally(10**10, whole.n / 2, whole.m / 2)
    # Two halves are two blocks: each pays all epsilons again, and together they hold less.
    assert 2 * key_of(half) < key_of(whole)
    found = estimate(one(whole), EVEN, EVEN, Security())
    leak = math.ceil(found.private_bits)
    assert secret_length(found, leak) == 0
    length = secret_length(found, 0)
    assert isinstance(length, int)
    assert length < found.private_bits


def test_rule_19_outcomes_share_a_bound_only_if_their_counts_were_pooled() -> None:
    good = expected_tally(GOOD, EVEN, EVEN, 10**10)
    # One of two outcomes is hostile: pooled or not, its bits are not key.
    hostile = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.5)), EVEN, EVEN, 10**10)
    tallies = {Outcome.PSI_MINUS: good, Outcome.PSI_PLUS: hostile}
    separate = estimate(tallies, EVEN, EVEN, Security(outcomes=OutcomeRule.SEPARATE))
    alone = estimate(one(good), EVEN, EVEN, Security())
    assert separate.bounds[1].private_bits == 0.0
    assert separate.private_bits < alone.private_bits
    together = estimate(tallies, EVEN, EVEN, Security())
    assert together.bounds[0].sifted == pooled(tallies).n_z
    assert together.private_bits < separate.private_bits


def test_rule_20_epsilons_are_reported_and_sum() -> None:
    found = estimate(one(expected_tally(GOOD, EVEN, EVEN, 10**10)), EVEN, EVEN, Security())
    ledger = found.ledger
    assert ledger.total == pytest.approx(1e-10 + 1e-15 + 1e-15)
    assert ledger.total == ledger.secrecy + ledger.correctness + ledger.authentication
    # Less to spend, less key.
    good = expected_tally(GOOD, EVEN, EVEN, 10**10)
    by_epsilon = [key_of(good, secrecy=e) for e in (1e-15, 1e-10, 1e-6)]
    assert by_epsilon == sorted(by_epsilon)
    assert by_epsilon[0] < by_epsilon[-1]


@pytest.mark.parametrize("method", ALL_METHODS)
def test_rule_22_uneven_arms_have_ladders_of_their_own_in_either_order(method: Method) -> None:
    """Both branches of the closed form: exchanging the parties exchanges nothing else, but for
    vacuum, which counts on Alice's side; and equal ladders on uneven arms make less key.
    """
    model = RelayModel(
        eta_a=0.2, eta_b=0.02, dark_count_probability=1e-7, misalignment_x=0.005, mode_overlap=0.98
    )
    near = Ladder(0.4, 0.1, 0.02, 0.0, 0.45, 0.1, 0.3)
    far = Ladder(0.4, 0.6, 0.12, 0.0, 0.45, 0.1, 0.3)
    yields = link_yields(model)
    good = expected_tally(yields, near, far, 10**12)
    mirrored = Tally(good.pulses, good.n.T, good.m.T)
    security = Security(method=method)
    found = estimate(one(good), near, far, security)
    swapped = estimate(one(mirrored), far, near, security)
    assert found.private_bits == pytest.approx(swapped.private_bits, rel=0.01)
    assert found.private_bits > 0.0
    equal = expected_tally(yields, EVEN, EVEN, 10**12)
    assert estimate(one(equal), EVEN, EVEN, security).private_bits < found.private_bits


def test_rule_23_the_length_rule_is_named_and_kept() -> None:
    good = expected_tally(GOOD, EVEN, EVEN, 10**11)
    variable = estimate(one(good), EVEN, EVEN, Security())
    assert variable.security.length_rule is LengthRule.VARIABLE
    possible = secret_length(variable, 1000)
    fixed = Security(length_rule=LengthRule.FIXED, fixed_length_bits=possible + 1)
    found = estimate(one(good), EVEN, EVEN, fixed)
    assert found.security.length_rule is LengthRule.FIXED
    # One bit more than the data allow: no key at all, not a shorter one.
    assert secret_length(found, 1000) == 0
    assert secret_length(found, 999) == possible + 1
