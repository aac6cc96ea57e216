"""Weighted counts: inequality (1) holds for every class and all odds, and weights are good ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_blocks import expected_tally, link_yields, relay_yields

from bellrelay.distill.event_classes import Worth, Worths
from bellrelay.distill.four_intensity import four_intensity_bounds
from bellrelay.distill.ladder import MU, NU, Ladder, S
from bellrelay.distill.tally import NOT_REPORTED, Tally
from bellrelay.distill.tuned_bounds import TunedBounds
from bellrelay.distill.weight_search import Weights
from bellrelay.distill.weighted_counts import WeightedBound, excess, worths_allowed
from bellrelay.physics import RelayModel
from bellrelay.wire.outcomes import Outcome

EVEN = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
SHORT = RelayModel(
    eta_a=0.1, eta_b=0.1, dark_count_probability=1e-7, misalignment_x=0.005, mode_overlap=0.98
)
ETA = 2e-21
BOTH = tuple(Outcome)


def bounds_of(tally: Tally, ladder: Ladder = EVEN, tuned: bool = True) -> TunedBounds:
    return four_intensity_bounds(tally, ladder, ladder, BOTH, expected=tally if tuned else None)


def short_tally(pulses: int, ladder: Ladder = EVEN) -> Tally:
    return expected_tally(link_yields(SHORT), ladder, ladder, pulses)


@settings(max_examples=20)
@given(
    s=st.floats(0.1, 0.8),
    mu=st.floats(0.15, 0.6),
    ratio=st.floats(0.05, 0.5),
    deviation=st.sampled_from([0.0, 0.005, 0.03]),
    leak=st.sampled_from([0.0, 1e-4]),
    log_pulses=st.floats(8.0, 14.0),
    transmission=st.floats(0.002, 0.3),
    worths=st.sampled_from([None, Worths(1.0, 1.0, 0.0), Worths(0.0, -1.0, 0.0)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_class_of_events_gains_on_average(
    s: float,
    mu: float,
    ratio: float,
    deviation: float,
    leak: float,
    log_pulses: float,
    transmission: float,
    worths: Worths | None,
    seed: int,
) -> None:
    """E[exp(t (score - worth))] <= 1, evaluated here anew from photon numbers and intensities."""
    ladder = Ladder(s, mu, mu * ratio, 0.0, 0.4, 0.2, 0.25, deviation, leak)
    pairs = relay_yields(lambda n, m: (min(0.5, transmission**2 * n * m / 2), 0.02))
    tally = expected_tally(pairs, ladder, ladder, round(10**log_pulses))
    found = bounds_of(tally, ladder).bound(ETA, worths).weights
    assert worths is not None or worths_allowed(found.worths)
    right, wrong, key = factors(found)
    rng = np.random.default_rng(seed)
    for _ in range(200):
        a, b = (some_odds(rng, ladder) for _ in range(2))
        error = 0.5 if min(a[0], b[0]) == 0 else float(rng.integers(0, 2))
        worth = Worth.NOTHING
        if a[0] == 0:
            worth = Worth.VACUUM
        elif a[0] == b[0] == 1:
            worth = Worth.WRONG_PAIR if error else Worth.PAIR
        factor = (1.0 - error) * right + error * wrong
        factor[S, S] = key[worth]
        odds = np.outer(a[1], b[1])
        assert (odds * factor).sum() <= odds.sum() * (1.0 + 1e-12)


def factors(weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors by setting without and with error, and of key by worth."""
    value = np.exp(weights.scale * weights.weights)
    right = value[:16].reshape(4, 4)
    wrong = right.copy()
    wrong[MU : NU + 1, MU : NU + 1] = value[16:].reshape(2, 2)
    key = right[S, S] * np.exp(-weights.scale * weights.worths.array())
    return right, wrong, key


def some_odds(rng: np.random.Generator, ladder: Ladder) -> tuple[int, np.ndarray]:
    """A photon number, and odds of the settings in the basis of a pulse with so many photons."""
    mean = np.where(rng.random(4) < 0.5, ladder.low, ladder.high)
    photons = int(rng.choice([0, 0, 1, 1, 1, 2, 2, 3, 4, 7, 12]))
    odds = ladder.probabilities * np.exp(-mean) * mean**photons / math.factorial(photons)
    if photons >= 2:
        odds[rng.choice([slice(0, 1), slice(1, 4)])] = 0.0
    return photons, odds


def test_weights_that_gain_are_found_out() -> None:
    """`excess` says so where (1) does not hold; and the search never leaves it like that."""
    tally = short_tally(10**10)
    bounds = bounds_of(tally)
    found = bounds.bound(ETA, None).weights
    assert excess(bounds.classes, found) < 0.0
    raised = found.lowered(-1e-3 / found.scale)
    assert excess(bounds.classes, raised) > 0.0
    greedy = Weights(found.weights, Worths(-1.0, -9.0, 1.0), found.scale)
    assert excess(bounds.classes, greedy) > 0.0
    assert not worths_allowed(Worths(0.9, 0.9, 1.0))
    assert not worths_allowed(Worths(0.0, 0.0, 1.1))


@given(rate=st.floats(1e-9, 0.5 - 1e-9), tangent=st.floats(1e-6, 0.5 - 1e-6))
def test_allowed_worths_are_tangents_of_what_pairs_hold(rate: float, tangent: float) -> None:
    worths = Worths(1.0 + math.log2(1.0 - tangent), 1.0 + math.log2(tangent), 1.0)
    assert 2.0**worths.pair + 2.0**worths.wrong_pair <= 2.0 * (1 + 1e-12)
    entropy = -rate * math.log2(rate) - (1 - rate) * math.log2(1 - rate)
    assert (1 - rate) * worths.pair + rate * worths.wrong_pair <= 1.0 - entropy + 1e-12


def test_more_pulses_and_more_failures_give_more_key() -> None:
    values = [bounds_of(short_tally(n)).private_bits(ETA)[0] / n for n in (10**9, 10**10, 10**12)]
    assert values == sorted(values)
    tally = short_tally(10**9)
    by_failure = [bounds_of(tally).private_bits(f)[0] for f in (1e-40, ETA, 1e-10, 1e-3)]
    assert by_failure == sorted(by_failure)


def test_with_endless_pulses_it_is_the_linear_program_and_below_the_truth() -> None:
    tally = short_tally(10**16)
    yields = link_yields(SHORT)
    pair_yield = sum(yields[o, "X", "X"][:, 1, 1] for o in Outcome)
    single = EVEN.p_s**2 * (EVEN.s * math.exp(-EVEN.s)) ** 2 * 10**16
    truth = pair_yield.sum() * single
    found = bounds_of(tally).pairs_lower(ETA)
    assert 0.9 * truth < found < truth
    errors = bounds_of(tally).phase_errors_upper(ETA)
    assert pair_yield[1] * single < errors < 3.0 * pair_yield[1] * single


def test_wrong_expectations_cost_key_and_never_make_any() -> None:
    """Tuned for another link, the bound is still one: it can only be lower than the best."""
    tally = short_tally(4 * 10**9)
    best = bounds_of(tally).private_bits(ETA)[0]
    for transmission, error in ((0.3, 0.001), (0.03, 0.2), (0.1, 0.02)):
        yields = relay_yields(lambda n, m, t=transmission, e=error: (t**2 * n * m / 2, e))
        other = expected_tally(yields, EVEN, EVEN, 4 * 10**9)
        bounds = four_intensity_bounds(tally, EVEN, EVEN, BOTH, expected=other)
        assert bounds.private_bits(ETA)[0] < best
        assert excess(bounds.classes, bounds.bound(ETA, None).weights) < 0.0


@pytest.mark.parametrize("pulses", [2 * 10**9, 10**11])
def test_a_member_of_the_family_is_nearly_as_good_as_the_link_itself(pulses: int) -> None:
    tally = short_tally(pulses)
    best = bounds_of(tally).private_bits(ETA)[0]
    assert 0.9 * best < bounds_of(tally, tuned=False).private_bits(ETA)[0] < best


def test_weights_of_the_family_do_not_depend_on_the_settings() -> None:
    """Blocks with equally many events share their weights, however their counts fluctuate: a fixed
    family has them, and failure is paid for each of its members.
    """
    tally = short_tally(4 * 10**9)
    rng = np.random.default_rng(3)
    cells = bounds_of(tally).classes.cells
    shares = cells.counts(tally.n, tally.m) / tally.n.sum()
    found = []
    for _ in range(3):
        n, m = np.zeros((4, 4), int), np.zeros((4, 4), int)
        drawn = rng.multinomial(round(tally.n.sum()), shares)
        n.ravel()[:] = drawn[:16]
        m[MU : NU + 1, MU : NU + 1] = drawn[16:].reshape(2, 2)
        bounds = bounds_of(Tally(tally.pulses, n + m, m), tuned=False)
        found.append(bounds.bound(ETA, None).weights)
    assert all(np.array_equal(w.weights, found[0].weights) for w in found)
    assert all((w.worths, w.scale) == (found[0].worths, found[0].scale) for w in found)


def test_cells_that_are_not_reported_cost_little_where_they_say_little() -> None:
    tally = short_tally(10**11)
    n, m = tally.n.copy(), tally.m.copy()
    n[S, 1:] = n[1:, S] = NOT_REPORTED
    whole = bounds_of(tally, tuned=False).private_bits(ETA)[0]
    fewer = bounds_of(Tally(tally.pulses, n, m), tuned=False).private_bits(ETA)[0]
    assert 0.9 * whole < fewer < whole
    # Without mu-nu, and with no errors but those of nu-nu, it still bounds.
    n[MU, NU] = n[NU, MU] = m[MU, NU] = m[NU, MU] = m[MU, MU] = NOT_REPORTED
    least = bounds_of(Tally(tally.pulses, n, m), tuned=False).private_bits(ETA)[0]
    assert 0.7 * whole < least < fewer


def test_unreported_is_not_zero() -> None:
    """Events that were not reported must not count as none: that would be false, and too good."""
    tally = short_tally(10**11)
    n = tally.n.copy()
    n[S, 1:] = n[1:, S] = 0
    false = bounds_of(Tally(tally.pulses, n, tally.m)).private_bits(ETA)[0]
    n[S, 1:] = n[1:, S] = NOT_REPORTED
    true = bounds_of(Tally(tally.pulses, n, tally.m)).private_bits(ETA)[0]
    assert false != pytest.approx(true, rel=0.01)


def test_a_bound_is_a_weighted_sum_less_what_failure_costs() -> None:
    tally = short_tally(10**10)
    found: WeightedBound = bounds_of(tally).bound(ETA, None)
    counts = found.cells.counts(tally.n, tally.m)
    by_hand = float(found.weights.weights @ counts) + math.log(ETA) / found.weights.scale
    assert found.value(counts) == pytest.approx(by_hand)
    assert found.log_failure == pytest.approx(-math.log(ETA))
