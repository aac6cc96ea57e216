"""Figures of spectra whose line, width and side modes are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.physics.spectrum import SPEED_OF_LIGHT, spectrum_figures

CENTRE = 193.4e12
FWHM = 8e9
GRID = CENTRE + np.arange(-2000, 2001) * 0.1e9


def line(f, centre, fwhm, power=1e-3):
    return power * np.exp(-4 * np.log(2) * ((f - centre) / fwhm) ** 2)


@given(st.floats(-20e9, 20e9), st.floats(2e9, 20e9), st.floats(1e-12, 1.0))
def test_a_gaussian_line_has_its_centre_and_its_width(offset, fwhm, power):
    found = spectrum_figures(GRID, line(GRID, CENTRE + offset, fwhm, power))
    assert found.centre_hz == pytest.approx(CENTRE + offset, abs=0.01 * fwhm)
    assert found.width_hz == pytest.approx(fwhm, rel=0.01)
    assert found.suppression_db is None
    assert found.centre_m == pytest.approx(SPEED_OF_LIGHT / (CENTRE + offset), rel=1e-6)


@pytest.mark.parametrize("db", [12.0, 35.0, 52.5])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_side_mode_is_so_far_below(db, side):
    floor = 1e-10
    power = line(GRID, CENTRE, FWHM) + line(
        GRID, CENTRE + side * 60e9, FWHM, 1e-3 * 10 ** (-db / 10)
    )
    power += line(GRID, CENTRE - side * 90e9, FWHM, 1e-3 * 10 ** (-db / 10 - 1.0)) + floor
    found = spectrum_figures(GRID, power)
    assert found.suppression_db == pytest.approx(db, abs=0.1)
    assert found.width_hz == pytest.approx(FWHM, rel=0.01)


def test_noise_that_does_not_stand_out_is_no_mode():
    rng = np.random.default_rng(1)
    ripple = 10 ** rng.uniform(-0.12, 0.12, len(GRID))
    power = (line(GRID, CENTRE, FWHM) + 1e-8) * ripple
    assert spectrum_figures(GRID, power).suppression_db is None
    # With more of it, the noise is what bounds the suppression.
    power = line(GRID, CENTRE, FWHM) + 1e-8 * 10 ** rng.uniform(-0.5, 0.5, len(GRID))
    assert spectrum_figures(GRID, power).suppression_db == pytest.approx(44.0, abs=2.0)


def test_a_line_at_the_edge_has_no_width():
    found = spectrum_figures(GRID, line(GRID, GRID[-1], FWHM))
    assert found.width_hz is None
    assert found.centre_hz == GRID[-1]


def test_points_need_not_be_evenly_spaced():
    f = SPEED_OF_LIGHT / np.linspace(1551e-9, 1549e-9, 1001)
    found = spectrum_figures(f, line(f, CENTRE, FWHM))
    assert found.centre_hz == pytest.approx(CENTRE, abs=0.05e9)
    assert found.width_hz == pytest.approx(FWHM, rel=0.02)


def test_what_lies_below_zero_is_nothing():
    power = line(GRID, CENTRE, FWHM)
    power[:100] = -1e-9
    assert spectrum_figures(GRID, power).suppression_db is None


@pytest.mark.parametrize(
    ("f", "p"),
    [
        (GRID[:4], GRID[:4]),
        (GRID[::-1], GRID),
        (GRID, np.zeros(len(GRID))),
        (GRID, np.full(len(GRID), np.nan)),
        (GRID, GRID[:-1]),
        (GRID - GRID[0], GRID),
    ],
)
def test_what_is_no_spectrum_is_refused(f, p):
    with pytest.raises(ValueError):
        spectrum_figures(f, p)
