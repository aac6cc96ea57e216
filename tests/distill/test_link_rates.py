"""What a modelled link is expected to count, and the key that estimation allows of it."""

from __future__ import annotations

import numpy as np
import pytest

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import (
    ModelledLink,
    expected_leak,
    expected_tallies,
    finite_key,
    sent_settings,
    spare_bits,
)
from bellrelay.distill.security import Security
from bellrelay.physics import (
    Basis,
    DeadTime,
    RelayModel,
    binary_entropy,
    gains,
    infinite_decoy_rate,
    live_fraction,
    outcome_probabilities,
)
from bellrelay.wire.outcomes import Outcome

ALICE = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
BOB = Ladder(0.5, 0.25, 0.06, 0.001, 0.5, 0.15, 0.2)
MODEL = RelayModel(
    eta_a=0.1,
    eta_b=0.07,
    dark_count_probability=1e-6,
    misalignment_z=0.005,
    misalignment_x=0.01,
    mode_overlap=0.98,
)
N = 10**12


def test_expected_counts_are_gains_times_pairs_sent() -> None:
    tallies = expected_tallies(ModelledLink(MODEL), ALICE, BOB, N)
    assert set(tallies) == set(Outcome)
    minus = tallies[Outcome.PSI_MINUS]
    z = gains(MODEL, Basis.Z, ALICE.s, BOB.s).psi_minus
    x = gains(MODEL, Basis.X, ALICE.mu, BOB.nu).psi_minus
    assert minus.n_z == pytest.approx(N * 0.45 * 0.5 * float(z.gain), rel=1e-9)
    assert minus.n_x[0, 1] == pytest.approx(N * 0.1 * 0.2 * float(x.gain), rel=1e-9)
    assert minus.m_x[0, 1] == pytest.approx(N * 0.1 * 0.2 * float(x.errors), rel=1e-9)
    # Alice in Z, Bob in X: no bit of it is disclosed, but the events are announced.
    _, mixed = outcome_probabilities(MODEL, Basis.Z, Basis.X, ALICE.s, BOB.mu)
    assert minus.n[0, 1] == pytest.approx(N * 0.45 * 0.15 * float(mixed.mean()), rel=1e-9)
    assert not minus.m[0].any()
    assert minus.pulses == N


def test_outcomes_that_are_not_announced_are_not_counted() -> None:
    tallies = expected_tallies(ModelledLink(MODEL, (Outcome.PSI_PLUS,)), ALICE, BOB, N)
    assert list(tallies) == [Outcome.PSI_PLUS]


def test_dead_time_scales_every_count() -> None:
    scheme = DeadTime(25_000, 10_000, 5_000)
    blind = RelayModel(eta_a=0.1, eta_b=0.07, same_detector=False)
    free, dead = ModelledLink(blind), ModelledLink(blind, dead_time=scheme)
    share = live_fraction(blind, scheme, sent_settings(ALICE), sent_settings(BOB))
    assert 0.5 < share < 1.0
    assert dead.live(ALICE, BOB) == share
    n_free, n_dead = (
        expected_tallies(link, ALICE, BOB, N)[Outcome.PSI_MINUS].n for link in (free, dead)
    )
    np.testing.assert_allclose(n_dead, share * n_free, rtol=1e-12)


def test_leak_is_that_of_the_error_rate() -> None:
    link = ModelledLink(MODEL, reconciliation_efficiency=1.2)
    error_rate = float(link.signal(ALICE, BOB).error_rate)
    expected = 1.2 * 10**6 * float(binary_entropy(error_rate))
    assert expected <= expected_leak(link, ALICE, BOB, 10**6) < expected + 1.0


def test_a_finite_key_stays_below_the_asymptotic_one_and_grows_with_the_block() -> None:
    link = ModelledLink(MODEL)
    limit = ALICE.p_s * BOB.p_s * float(infinite_decoy_rate(MODEL, ALICE.s, BOB.s))
    rates = [finite_key(link, ALICE, BOB, n, Security()).rate for n in (10**11, 10**13, 10**15)]
    assert rates == sorted(rates)
    assert 0.0 < rates[-1] < limit


def test_bounds_tuned_for_the_model_leave_a_little_more() -> None:
    """They may be tuned for what is expected before; the key that is reported is of none."""
    link = ModelledLink(MODEL)
    spare, spent = spare_bits(link, ALICE, BOB, N, Security())
    key = finite_key(link, ALICE, BOB, N, Security())
    assert key.length < spare < 1.1 * key.length
    assert spent > key.leak_ec


def test_a_short_block_says_why_there_is_no_key() -> None:
    key = finite_key(ModelledLink(MODEL), ALICE, BOB, 10**6, Security())
    assert key.length == 0
    assert key.estimate.aborted
