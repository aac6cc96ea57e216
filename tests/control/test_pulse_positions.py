"""Positions of pulses in histograms: as good as they can be, and as good as they say."""

import math

import numpy as np
import pytest
from fast_link import BIN_PS, CENTRES_PS, PERIOD_PS, WIDTH_PS
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.control.pulse_monitor import measure_pulses
from bellrelay.control.pulse_positions import TooFewCounts, fit_pulses, slot_counts
from bellrelay.control.pulse_shape import PulseShape

SHAPE = PulseShape(625, BIN_PS, PERIOD_PS)
USUAL = {"bin_ps": BIN_PS, "period_ps": PERIOD_PS, "centres_ps": CENTRES_PS, "width_ps": WIDTH_PS}


def expected(shift, early, late, background=0.0, width=WIDTH_PS):
    share = [SHAPE.at(c + shift, width)[0] for c in CENTRES_PS]
    return early * share[0] + late * share[1] + background


def test_the_error_bar_is_the_cramer_rao_bound_and_is_met():
    rng = np.random.default_rng(1)
    shifts, pulls = rng.uniform(-1500, 1500, 300), []
    for shift in shifts:
        found = fit_pulses(
            rng.poisson(expected(shift, 3000, 2000, 2.0)), background_per_bin=2.0, **USUAL
        )
        pulls.append((found.shift_ps - shift) / found.sigma_shift_ps)
    print(f"mean pull {np.mean(pulls):.3f}, spread {np.std(pulls):.3f} of an error bar")
    assert abs(np.mean(pulls)) < 4 / math.sqrt(300)
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / math.sqrt(600))
    bright = fit_pulses(expected(10.0, 3000, 2000), **USUAL)
    # Without background the bound is width / sqrt(N); bins of 16 ps lose next to nothing of it.
    bound = math.hypot(WIDTH_PS, 0.0) / math.sqrt(5000)
    assert bound <= bright.sigma_shift_ps * 1.0005 < 1.01 * bound
    np.testing.assert_allclose(bright.counts, [3000, 2000], rtol=1e-3)


@given(
    shift=st.floats(-2400, 2400),
    early=st.integers(300, 100_000),
    ratio=st.floats(0.5, 1.5),
    background=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_any_shift_of_a_quarter_of_the_slot_is_found(shift, early, ratio, background, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected(shift, early, ratio * early, background))
    found = measure_pulses(counts, **USUAL)
    wrapped = (found.positions.shift_ps - shift + 2500) % 5000 - 2500
    assert abs(wrapped) < 6 * found.positions.sigma_shift_ps + 1e-3
    assert found.contrast > 0.9


def test_a_width_is_found_too():
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(100):
        counts = rng.poisson(expected(5.0, 4000, 4000, width=140.0))
        found = fit_pulses(counts, fit_width=True, **USUAL)
        pulls.append((found.width_ps - 140.0) / found.sigma_width_ps)
    assert abs(np.mean(pulls)) < 0.4
    assert np.std(pulls) == pytest.approx(1.0, abs=0.3)
    assert found.sigma_width_ps == pytest.approx(140.0 / math.sqrt(2 * 8000), rel=0.05)


def test_one_pulse_and_a_slot_that_is_no_whole_number_of_bins():
    shape = PulseShape(-(-13_333 // 16), 16, 13_333)
    counts = 500 * shape.at(13_300.0, 100.0)[0]
    found = fit_pulses(counts, bin_ps=16, period_ps=13_333, centres_ps=(13_250.0,), width_ps=100.0)
    assert found.shift_ps == pytest.approx(50.0, abs=0.5)
    assert found.position_ps[0] == pytest.approx(13_300.0, abs=0.5)


def test_what_shows_no_pulses_is_refused():
    rng = np.random.default_rng(3)
    with pytest.raises(TooFewCounts, match="counts above"):
        fit_pulses(np.zeros(625, np.int64), **USUAL)
    with pytest.raises(TooFewCounts):
        measure_pulses(rng.poisson(np.full(625, 5000.0)), **USUAL)
    # A clock that runs away smears the pulses over the slot within a period.
    smear = np.mean([expected(s, 1e6, 1e6) for s in np.linspace(0, 10_000, 100)], axis=0)
    with pytest.raises(TooFewCounts):
        measure_pulses(rng.poisson(smear), **USUAL)
    with pytest.raises(ValueError, match="span"):
        slot_counts(np.zeros(624, np.int64), BIN_PS, PERIOD_PS)
    with pytest.raises(ValueError, match="positive"):
        fit_pulses(np.ones(625, np.int64), **{**USUAL, "width_ps": 0.0})


def test_the_background_comes_from_between_the_pulses():
    rng = np.random.default_rng(4)
    found = measure_pulses(rng.poisson(expected(-30.0, 8000, 8000, 7.0)), **USUAL)
    assert found.background_per_bin == pytest.approx(7.0, rel=0.1)
    assert found.positions.shift_ps == pytest.approx(-30.0, abs=5.0)
