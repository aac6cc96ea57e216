import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qkd import _core as peer

from bellrelay.physics import (
    Basis,
    RelayModel,
    gains,
    pair_error_upper,
    pair_yield_lower,
    single_photon_gains,
)

# Factors between mu, nu and o of one party, and mu itself.
ladders = st.builds(
    lambda mu, step, vacuum: (mu, mu * step, mu * step * vacuum),
    st.floats(0.05, 0.6),
    st.floats(0.05, 0.5),
    st.sampled_from([0.0, 0.001, 0.1]),
)
efficiencies = st.floats(-3.0, -0.3).map(lambda exponent: 10.0**exponent)


def table(model: RelayModel, alice: tuple[float, ...], bob: tuple[float, ...], basis: Basis):
    return gains(model, basis, np.array(alice)[:, None], np.array(bob)[None, :]).both


@given(ladders, ladders, efficiencies, efficiencies, st.floats(-9, -4), st.floats(0.0, 0.1))
def test_the_peer_says_the_same(alice, bob, eta_a, eta_b, dark_exponent, flip) -> None:
    """qkd 0.2: gains and error rates of both bases, both bounds, to 1e-6 (in fact to rounding)."""
    dark = 10.0**dark_exponent
    model = RelayModel(
        eta_a=eta_a,
        eta_b=eta_b,
        dark_count_probability=dark,
        misalignment_z=flip,
        misalignment_x=flip,
    )
    for basis, form in ((Basis.Z, peer.mdi_rect), (Basis.X, peer.mdi_diag)):
        measured = table(model, alice, bob, basis)
        theirs = np.array([[form(a, b, eta_a, eta_b, dark, flip) for b in bob] for a in alice])
        # Its forms are literal and lose digits where few photons arrive.
        np.testing.assert_allclose(measured.gain, theirs[..., 0], rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(
            measured.errors, theirs[..., 0] * theirs[..., 1], rtol=1e-6, atol=1e-15
        )
        lower = pair_yield_lower(alice, bob, measured.gain)
        expected = peer.mdi_y11(list(alice), list(bob), list(measured.gain.ravel()))
        assert float(lower) == pytest.approx(expected, rel=1e-9, abs=1e-15)
        upper = pair_error_upper(alice, bob, measured.errors, lower)
        if expected > 0.0:
            e = measured.errors
            expected = peer.mdi_e11(
                alice[1], alice[2], bob[1], bob[2], e[1, 1], e[2, 2], e[1, 2], e[2, 1], expected
            )
            assert float(upper) == pytest.approx(expected, rel=1e-9)
        else:
            assert float(upper) == 0.5


@given(
    ladders,
    ladders,
    efficiencies,
    efficiencies,
    st.floats(-9, -3),
    st.floats(0.0, 1.0),
    st.booleans(),
    st.sampled_from(["psi_plus", "psi_minus", "both"]),
)
def test_bounds_never_pass_the_truth(
    alice, bob, eta_a, eta_b, dark_exponent, overlap, same_detector, outcome
) -> None:
    model = RelayModel(
        eta_a=eta_a,
        eta_b=eta_b,
        dark_count_probability=10.0**dark_exponent,
        mode_overlap=overlap,
        misalignment_x=0.01,
        same_detector=same_detector,
        detectors_per_port=2,
    )
    for basis in Basis:
        bell = gains(model, basis, np.array(alice)[:, None], np.array(bob)[None, :])
        measured = getattr(bell, outcome)
        truth = getattr(single_photon_gains(model, basis), outcome)
        lower = pair_yield_lower(alice, bob, measured.gain)
        assert float(lower) <= float(truth.gain) * (1.0 + 1e-6)
        upper = pair_error_upper(alice, bob, measured.errors, lower)
        assert float(upper) >= min(float(truth.error_rate), 0.5) * (1.0 - 1e-6)


def test_the_other_branch_would_be_no_bound() -> None:
    """Which two-photon term may cancel depends on the intensities; the other choice is wrong."""
    alice, bob = (0.5, 0.05, 0.0), (0.5, 0.25, 0.0)
    a, b = np.array(alice)[:, None], np.array(bob)[None, :]
    # One photon from Alice and two from Bob always click, nothing else does: Y_11 is 0.
    gain = np.exp(-a - b) * a * b**2 / 2.0
    weak, strong = np.exp(0.3) * gain[1, 1], np.exp(1.0) * gain[0, 0]
    other_branch = 0.5**2 * 0.5 * weak - 0.05**2 * 0.25 * strong
    assert other_branch > 1e-4
    assert float(pair_yield_lower(alice, bob, gain)) < 1e-15
    assert float(pair_yield_lower(bob, alice, gain.T)) < 1e-15


def test_a_brighter_decoy_than_declared_breaks_the_bound() -> None:
    """The bound is of the declared intensities: nu 5 and 10 % brighter put it above the truth."""
    model = RelayModel(eta_a=0.1, eta_b=0.1)
    declared = (0.4, 0.05, 0.0)
    truth = float(single_photon_gains(model, Basis.X).both.gain)
    ratios = []
    for factor in (1.0, 1.05, 1.1):
        sent = (0.4, 0.05 * factor, 0.0)
        gain = table(model, sent, sent, Basis.X).gain
        ratios.append(float(pair_yield_lower(declared, declared, gain)) / truth)
    assert ratios[0] < 1.0 < ratios[1] < ratios[2]


def test_contradictory_data_are_no_error_free_photons() -> None:
    ladder = (0.4, 0.05, 0.0)
    gain = np.full((3, 3), 1e-3)
    errors = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1e-4], [0.0, 1e-4, 0.0]])
    assert float(pair_error_upper(ladder, ladder, errors, 1e-3)) == 0.5
    assert float(pair_error_upper(ladder, ladder, 0.1 * gain, 0.0)) == 0.5


@pytest.mark.parametrize("wrong", [(0.05, 0.4, 0.0), (0.4, 0.4, 0.0), (0.4, 0.05, -0.1)])
def test_intensities_must_fall(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bob"):
        pair_yield_lower((0.4, 0.05, 0.0), wrong, np.zeros((3, 3)))


def test_tables_broadcast() -> None:
    model = RelayModel(eta_a=np.array([[[0.1]], [[0.01]]]), eta_b=0.1)
    ladder = (0.4, 0.05, 0.0)
    measured = table(model, ladder, ladder, Basis.X)
    lower = pair_yield_lower(ladder, ladder, measured.gain)
    assert lower.shape == (2,)
    assert pair_error_upper(ladder, ladder, measured.errors, lower).shape == (2,)
