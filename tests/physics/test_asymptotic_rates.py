import numpy as np
import pytest
from qkd import _core as peer

from bellrelay.physics import (
    Basis,
    RelayModel,
    arm_efficiency,
    asymptotic_rate,
    best_signal,
    gains,
    infinite_decoy_rate,
    single_photon_gains,
)
from bellrelay.wire.outcomes import Outcome


def lo_curty_qi(distance_km: float) -> RelayModel:
    """Parameters of PRL 108, 130503 (2012): Y0 6.02e-6 is of a pair of detectors."""
    eta = float(arm_efficiency(distance_km / 2.0, detector_efficiency=0.145))
    return RelayModel(
        eta_a=eta,
        eta_b=eta,
        dark_count_probability=3.01e-6,
        misalignment_z=0.015,
        misalignment_x=0.015,
    )


@pytest.mark.parametrize(("km", "rate"), [(0, 5.75e-4), (100, 4.93e-6), (200, 2.14e-8)])
def test_lo_curty_qi_rates(km: float, rate: float) -> None:
    assert best_signal(lo_curty_qi(km)).rate == pytest.approx(rate, rel=3e-3)


def test_lo_curty_qi_reach() -> None:
    """Published: positive beyond 40 dB, about 200 km. Here to 231.9 km, 46.4 dB."""
    assert best_signal(lo_curty_qi(231.8)).rate > 0.0
    assert best_signal(lo_curty_qi(232.1)).rate == 0.0


def test_the_peer_composes_the_same_rate() -> None:
    model = lo_curty_qi(50.0)
    eta = float(np.asarray(model.eta_a))
    pair_yield, pair_error = peer.mdi_yield(eta, eta, 3.01e-6, 0.015)
    gain, error_rate = peer.mdi_rect(0.5, 0.4, eta, eta, 3.01e-6, 0.015)
    expected = peer.mdi_rate(
        peer.mdi_gain(pair_yield, 0.5, 0.4), pair_error, gain, error_rate, 1.16
    )
    assert float(infinite_decoy_rate(model, 0.5, 0.4)) == pytest.approx(expected, rel=1e-9)


def test_one_outcome_has_half_the_rate_of_both() -> None:
    model = lo_curty_qi(20.0)
    minus = float(infinite_decoy_rate(model, 0.4, 0.4, outcomes=[Outcome.PSI_MINUS]))
    both = float(infinite_decoy_rate(model, 0.4, 0.4))
    assert minus == pytest.approx(both / 2.0, rel=1e-3)
    with pytest.raises(ValueError, match="outcomes"):
        gains(model, Basis.Z, 0.4, 0.4).pooled([])


def test_a_rate_is_never_negative_and_never_rises_with_errors() -> None:
    assert float(asymptotic_rate(0.4, 0.4, 1e-3, 0.6, 1e-3, 0.6)) == 0.0
    rates = asymptotic_rate(0.4, 0.4, 5e-3, np.linspace(0.0, 0.7, 30), 1e-4, 0.01)
    assert np.all(np.diff(rates) <= 0.0)


def test_uneven_arms_want_uneven_signals_less_than_the_arms_are() -> None:
    """The best signals differ far less than the arms: s need not match, only decoys in X do."""
    model = RelayModel(eta_a=0.1, eta_b=0.01, dark_count_probability=1e-7, mode_overlap=0.98)
    best = best_signal(model)
    assert 0.5 < best.signal_a / best.signal_b < 2.0
    pairs = single_photon_gains(model, Basis.X).both
    assert best.rate < float(pairs.gain)
