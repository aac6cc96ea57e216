"""Closed forms, linear program and double scanning: they check each other, and the truth them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_blocks import expected_tally, link_yields, relay_yields

from bellrelay.distill import decoy_closed_form, decoy_linear_program, double_scanning
from bellrelay.distill.decoy_closed_form import (
    INDEPENDENT_BOUNDS,
    decoy_form,
    independent_bounds,
)
from bellrelay.distill.decoy_linear_program import (
    ERRORS,
    PAIRS,
    CountIntervals,
    count_intervals,
    least_worth,
    program_bounds,
)
from bellrelay.distill.double_scanning import DOUBLE_SCANNING_BOUNDS
from bellrelay.distill.double_scanning import double_scanning as scan
from bellrelay.distill.event_classes import EventClasses
from bellrelay.distill.four_intensity import four_intensity_bounds, four_intensity_cells
from bellrelay.distill.ladder import MU, NU, Ladder, O, S
from bellrelay.distill.tally import NOT_REPORTED, Tally
from bellrelay.physics import Basis, RelayModel, gains, pair_error_upper, pair_yield_lower
from bellrelay.wire.outcomes import Outcome

EVEN = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
ETA = 2e-21


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    mu = draw(st.floats(0.1, 0.7))
    nu = mu * draw(st.floats(0.05, 0.6))
    shares = [draw(st.floats(0.1, 1.0)) for _ in range(4)]
    p = [share / sum(shares) for share in shares]
    deviation = draw(st.sampled_from([0.0, 0.003, 0.02]))
    return Ladder(draw(st.floats(0.1, 0.8)), mu, nu, 0.0, *p[:3], deviation=deviation)


@st.composite
def links(draw: st.DrawFn) -> dict:
    """Yields of a link or of a relay that counts photons."""
    if draw(st.booleans()):
        model = RelayModel(
            eta_a=draw(st.floats(0.003, 0.3)),
            eta_b=draw(st.floats(0.003, 0.3)),
            dark_count_probability=draw(st.floats(1e-9, 1e-5)),
            misalignment_x=draw(st.floats(0.0, 0.05)),
            mode_overlap=draw(st.floats(0.8, 1.0)),
        )
        return link_yields(model)
    chances = {(n, m): draw(st.floats(0.0, 0.01)) for n in range(3) for m in range(3)}
    errors = {(n, m): draw(st.floats(0.0, 0.5)) for n in range(3) for m in range(3)}
    return relay_yields(lambda n, m: (chances[min(n, 2), min(m, 2)], errors[min(n, 2), min(m, 2)]))


def single_pairs(yields: dict, alice: Ladder, bob: Ladder, pulses: float) -> tuple[float, float]:
    """Mean pairs of single photons in the key, and their phase errors."""
    table = sum(yields[o, Basis.X, Basis.X][:, 1, 1] for o in Outcome)
    single = alice.s * math.exp(-alice.s) * bob.s * math.exp(-bob.s)
    sent = pulses * alice.p_s * bob.p_s * single
    return float(table.sum() * sent), float(table[1] * sent)


@settings(max_examples=25)
@given(alice=ladders(), bob=ladders(), yields=links(), log_pulses=st.floats(9.0, 15.0))
def test_closed_forms_never_say_more_than_the_linear_program_nor_this_than_the_truth(
    alice: Ladder, bob: Ladder, yields: dict, log_pulses: float
) -> None:
    """From the same intervals of the same counts: those of the closed form."""
    pulses = round(10**log_pulses)
    tally = expected_tally(yields, alice, bob, pulses)
    assume(tally.n_x.min() >= 0 and tally.n.sum() > 1000)
    classes = EventClasses(alice.sender(), bob.sender(), four_intensity_cells(tally))
    # The failure at which every interval has the epsilon that the closed form uses.
    sets = len(count_intervals(classes, tally, ETA).sets)
    intervals = count_intervals(classes, tally, ETA / INDEPENDENT_BOUNDS * 2 * sets)
    least = least_worth(classes, intervals, PAIRS)
    most = -least_worth(classes, intervals, ERRORS)
    pairs, errors = independent_bounds(tally, alice, bob, ETA)
    truth = single_pairs(yields, alice, bob, pulses)
    slack = 1e-6 * float(tally.n.sum())
    # The closed form adds the fluctuation of the key itself, which only widens.
    assert pairs <= least + slack
    assert errors >= most - slack
    if max(alice.deviation, bob.deviation) == 0.0:
        assert least <= truth[0] + slack
        assert most >= truth[1] - slack


@settings(max_examples=20)
@given(alice=ladders(), bob=ladders(), eta=st.floats(0.01, 0.3), ratio=st.floats(0.1, 1.0))
def test_without_fluctuation_the_closed_form_is_that_of_the_gains(
    alice: Ladder, bob: Ladder, eta: float, ratio: float
) -> None:
    """Both branches, against `bellrelay.physics.decoy_bounds`, which has them from gains."""
    alice, bob = (Ladder(x.s, x.mu, x.nu, 0.0, x.p_s, x.p_mu, x.p_nu) for x in (alice, bob))
    model = RelayModel(eta_a=eta, eta_b=eta * ratio, dark_count_probability=1e-7)
    a, b = alice.intensities[1:], bob.intensities[1:]
    x = gains(model, Basis.X, a[:, None], b[None, :]).both
    lower = float(pair_yield_lower(a, b, x.gain))
    upper = float(pair_error_upper(a, b, x.errors, lower))
    form = decoy_form(alice, bob)
    p = np.outer(alice.probabilities[1:], bob.probabilities[1:])
    n, m = x.gain * p, x.errors * p
    mu, nu, o = range(3)
    pairs = (
        n[nu, nu]
        - form.r_b * n[nu, o]
        - form.r_a * n[o, nu]
        + form.r * n[o, o]
        - form.w * (n[mu, mu] - form.s_b * n[mu, o] - form.s_a * n[o, mu] + form.s * n[o, o])
    ) / form.pairs
    vacuum = form.r_b * n[nu, o] + form.r_a * n[o, nu] - form.r * n[o, o]
    errors = (m[nu, nu] - vacuum / 2.0) / form.errors
    single = alice.p_s * alice.s * math.exp(-alice.s) * bob.p_s * bob.s * math.exp(-bob.s)
    assert max(0.0, pairs / single) == pytest.approx(lower, rel=1e-6, abs=1e-12)
    if 0.0 < upper < 0.5 and lower > 0.0:
        assert errors / single == pytest.approx(upper * lower, rel=1e-6)
    assert form.vacuum_share == 1.0


def test_the_branch_follows_the_stronger_of_two_and_one_photon() -> None:
    strong = Ladder(0.4, 0.5, 0.05, 0.0, 0.45, 0.1, 0.3)
    weak = Ladder(0.4, 0.1, 0.05, 0.0, 0.45, 0.1, 0.3)
    for alice, bob in ((strong, weak), (weak, strong), (strong, strong)):
        form = decoy_form(alice, bob)
        ratio = [
            [x.p_nu / x.p_mu * math.exp(x.mu - x.nu) * (x.nu / x.mu) ** n for n in (1, 2)]
            for x in (alice, bob)
        ]
        assert form.w == pytest.approx(max(ratio[0][1] * ratio[1][0], ratio[0][0] * ratio[1][1]))


@pytest.mark.parametrize("deviation", [0.0, 0.01])
def test_a_wider_interval_of_intensities_never_gives_more(deviation: float) -> None:
    exact = decoy_form(EVEN, EVEN)
    loose = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation)
    form = decoy_form(loose, loose)
    assert form.r_b >= exact.r_b
    assert form.w >= exact.w
    assert form.pairs >= exact.pairs
    assert form.errors <= exact.errors
    assert form.s_b <= exact.s_b
    assert form.vacuum_share <= 1.0


class Counter:
    """Counts how often an interval is asked for, and with which epsilon."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: object) -> None:
        self.epsilons: list[float] = []
        for module in modules:
            for name in ("mean_lower", "mean_upper", "count_lower", "count_upper"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, function):  # type: ignore[no-untyped-def]
        def counted(count: float, epsilon: float) -> float:
            self.epsilons.append(epsilon)
            return function(count, epsilon)

        return counted


def test_failures_of_all_intervals_sum_to_what_was_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bellrelay.distill import joint_constraints

    tally = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.02)), EVEN, EVEN, 10**11)
    seen = Counter(
        monkeypatch, decoy_closed_form, decoy_linear_program, double_scanning, joint_constraints
    )
    for bounds, most in (
        (independent_bounds, INDEPENDENT_BOUNDS),
        (scan, DOUBLE_SCANNING_BOUNDS),
        (program_bounds, 10**3),
    ):
        seen.epsilons.clear()
        bounds(tally, EVEN, EVEN, ETA)
        assert 0 < len(seen.epsilons) <= most
        assert sum(seen.epsilons) <= ETA * (1 + 1e-9)
        assert sum(seen.epsilons) > 0.7 * ETA


def test_double_scanning_is_the_minimum_over_both_scanned_numbers() -> None:
    """The same minimum, by brute force over a grid of M and H, is not below it, and close."""
    tally = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.02)), EVEN, EVEN, 10**10)
    found = scan(tally, EVEN, EVEN, ETA)
    form = decoy_form(EVEN, EVEN)
    epsilon = ETA / DOUBLE_SCANNING_BOUNDS
    n, wrong = tally.n, float(tally.m[NU, NU])
    low, high = decoy_closed_form.mean_lower, decoy_closed_form.mean_upper
    joint_low = double_scanning.weighted_mean_lower
    joint_high = double_scanning.weighted_mean_upper
    weights, counts = (form.r_b, form.r_a), (n[NU, O], n[O, NU])
    h = np.linspace(
        joint_low(weights, counts, epsilon) - form.r * high(float(n[O, O]), epsilon),
        joint_high(weights, counts, epsilon) - form.r * low(float(n[O, O]), epsilon),
        200,
    )[None, :]
    m = np.linspace(low(wrong, epsilon), high(wrong, epsilon), 200)[:, None]
    rest = joint_low(
        (1.0, form.w * form.s_b, form.w * form.s_a),
        (n[NU, NU] - wrong, n[MU, O], n[O, MU]),
        epsilon,
    ) - joint_high((form.w, form.w * form.s), (n[MU, MU], n[O, O]), epsilon)
    pairs = (rest + m - np.maximum(h, 0.0)) / form.pairs
    errors = np.maximum(0.0, m - np.maximum(h, 0.0) / 2.0) / form.errors
    possible = m >= h / 2.0
    rate = np.clip(errors / np.maximum(pairs, 1.0), 1e-12, 0.5)
    entropy = -rate * np.log2(rate) - (1 - rate) * np.log2(1 - rate)
    grid = np.where(possible, pairs * (1.0 - entropy), np.inf).min()
    assert found.private_bits < grid
    assert found.private_bits > 0.85 * grid
    assert found.private_bits > independent_value(tally)


def independent_value(tally: Tally) -> float:
    pairs, errors = independent_bounds(tally, EVEN, EVEN, ETA)
    rate = min(0.5, errors / pairs) if pairs else 0.5
    return pairs * (1.0 + (rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate)))


@settings(max_examples=25)
@given(alice=ladders(), bob=ladders(), yields=links(), log_pulses=st.floats(9.0, 14.0))
def test_double_scanning_stays_below_the_truth(
    alice: Ladder, bob: Ladder, yields: dict, log_pulses: float
) -> None:
    pulses = round(10**log_pulses)
    tally = expected_tally(yields, alice, bob, pulses)
    assume(tally.n.sum() > 1000)
    pairs, errors = single_pairs(yields, alice, bob, pulses)
    rate = errors / max(pairs, 1e-300)
    inside = min(max(rate, 1e-15), 0.5)
    entropy = -inside * math.log2(inside) - (1 - inside) * math.log2(1 - inside)
    assert scan(tally, alice, bob, ETA).private_bits <= pairs * (1.0 - entropy) + 1e-6


@pytest.mark.parametrize("pulses", [10**9, 10**10, 10**12])
def test_weighted_counts_are_the_tightest(pulses: int) -> None:
    model = RelayModel(eta_a=0.1, eta_b=0.1, dark_count_probability=1e-7, misalignment_x=0.005)
    tally = expected_tally(link_yields(model), EVEN, EVEN, pulses)
    best = four_intensity_bounds(tally, EVEN, EVEN, tuple(Outcome)).private_bits(ETA)[0]
    assert best > scan(tally, EVEN, EVEN, ETA).private_bits
    assert best > independent_value(tally)


def test_counts_that_contradict_themselves_allow_nothing() -> None:
    """More nu-vacuum events than nu-nu ones can explain: no yields agree with that."""
    tally = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.02)), EVEN, EVEN, 10**11)
    n = tally.n.copy()
    n[NU, O] = n[O, NU] = 10 * n[NU, NU]
    n[O, O] = 0
    false = Tally(tally.pulses, n, tally.m)
    assert program_bounds(false, EVEN, EVEN, ETA) == (0.0, math.inf)
    assert scan(false, EVEN, EVEN, ETA).private_bits == 0.0
    assert independent_bounds(false, EVEN, EVEN, ETA)[0] == 0.0


def test_closed_forms_refuse_what_they_do_not_know() -> None:
    leaky = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, vacuum_limit=1e-3)
    tally = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.02)), EVEN, EVEN, 10**10)
    for bounds in (independent_bounds, scan):
        with pytest.raises(ValueError, match="vacuum"):
            bounds(tally, leaky, EVEN, ETA)
    n = tally.n.copy()
    n[MU, O] = NOT_REPORTED
    for bounds in (independent_bounds, scan):
        with pytest.raises(ValueError, match="need"):
            bounds(Tally(tally.pulses, n, tally.m), EVEN, EVEN, ETA)
    assert program_bounds(Tally(tally.pulses, n, tally.m), EVEN, EVEN, ETA)[0] >= 0.0
    assert n[S, S] > 0


def test_the_linear_program_uses_every_interval() -> None:
    """Narrower intervals never give a looser bound."""
    tally = expected_tally(relay_yields(lambda n, m: (0.005 * n * m, 0.02)), EVEN, EVEN, 10**10)
    classes = EventClasses(EVEN.sender(), EVEN.sender(), four_intensity_cells(tally))
    wide = count_intervals(classes, tally, ETA)
    narrow = count_intervals(classes, tally, 1e-3)
    assert np.all(narrow.low >= wide.low)
    assert least_worth(classes, narrow, PAIRS) > least_worth(classes, wide, PAIRS)
    assert least_worth(classes, narrow, ERRORS) > least_worth(classes, wide, ERRORS)
    only = CountIntervals(wide.sets[:1], wide.low[:1], wide.high[:1])
    assert least_worth(classes, only, PAIRS) == pytest.approx(0.0, abs=1e-6)
