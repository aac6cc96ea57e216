import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.physics import (
    Basis,
    RelayModel,
    arm_efficiency,
    binary_entropy,
    dip_visibility,
    outcome_probabilities,
    overlap_of_visibility,
    transmittance,
)


def test_an_arm_multiplies_fibre_losses_and_detector() -> None:
    assert float(arm_efficiency(50.0, 0.2, 3.0, 0.5)) == pytest.approx(0.1 * 10**-0.3 * 0.5)
    np.testing.assert_allclose(arm_efficiency(np.array([0.0, 100.0])), [1.0, 0.01])
    assert float(transmittance(0.0)) == 1.0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((-1.0,), "length"), ((1.0, 0.2, -0.1), "loss"), ((1.0, 0.2, 0.0, 1.1), "detector_eff")],
)
def test_what_cannot_be_is_refused(arguments: tuple[float, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        arm_efficiency(*arguments)


@given(st.floats(0.0, 1.0), st.floats(0.05, 20.0))
def test_visibility_and_overlap_invert_each_other(overlap: float, ratio: float) -> None:
    visibility = dip_visibility(overlap, ratio)
    assert float(overlap_of_visibility(visibility, ratio)) == pytest.approx(overlap, abs=1e-12)


def test_weak_pulses_cannot_show_more_than_half() -> None:
    assert float(dip_visibility(1.0)) == 0.5
    with pytest.raises(ValueError, match="visibility"):
        overlap_of_visibility(0.51)


@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_the_dip_is_that_of_the_gains(ratio: float) -> None:
    """Weak pulses with equal X bits: the dip is the psi-minus that interference takes away."""
    weak = 1e-4

    def psi_minus(overlap: float) -> float:
        model = RelayModel(eta_a=1.0, eta_b=1.0, mode_overlap=overlap)
        _, minus = outcome_probabilities(model, Basis.X, Basis.X, weak, ratio * weak)
        return float(minus[0, 0])

    dip = 1.0 - psi_minus(0.8) / psi_minus(0.0)
    assert dip == pytest.approx(float(dip_visibility(0.8, ratio)), rel=1e-3)


def test_binary_entropy() -> None:
    np.testing.assert_allclose(binary_entropy([0.0, 0.11, 0.5, 1.0]), [0.0, 0.49991596, 1.0, 0.0])
    p = np.array([1e-12, 0.3])
    other = -(1 - p) * np.log1p(-p) / np.log(2.0)
    np.testing.assert_allclose(binary_entropy(p), -p * np.log2(p) + other, rtol=1e-13)
    with pytest.raises(ValueError, match="probability"):
        binary_entropy(-1e-9)
