"""Differences of I0: against SciPy where nothing cancels, by leading terms where all does."""

import numpy as np
import pytest
from scipy.special import i0

from bellrelay.physics.bessel import i0_difference, i0_second_difference


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.9, 4.1, 9.0])
def test_large_arguments_agree_with_scipy(scale: float) -> None:
    rng = np.random.default_rng(7)
    x, dx, dy = (rng.uniform(-scale, scale, 200) / 3.0 for _ in range(3))
    np.testing.assert_allclose(
        i0_difference(x, dx), i0(x + dx) - i0(x), rtol=1e-11, atol=1e-13 * i0(scale)
    )
    expected = i0(x + dx + dy) - i0(x + dx) - i0(x + dy) + i0(x)
    np.testing.assert_allclose(
        i0_second_difference(x, dx, dy), expected, rtol=1e-11, atol=1e-13 * i0(scale)
    )


def test_small_arguments_keep_their_digits() -> None:
    x, dx, dy = np.array([1e-7]), np.array([3e-7]), np.array([-2e-7])
    np.testing.assert_allclose(i0_difference(x, dx), (16e-14 - 1e-14) / 4.0, rtol=1e-12)
    np.testing.assert_allclose(i0_second_difference(x, dx, dy), -6e-14 / 2.0, rtol=1e-12)


def test_a_zero_step_is_exactly_zero() -> None:
    x = np.array([0.0, 0.3, 5.0])
    assert np.all(i0_difference(x, np.zeros(3)) == 0.0)
    assert np.all(i0_second_difference(x, np.zeros(3), np.array([0.1, 0.2, 0.3])) == 0.0)
