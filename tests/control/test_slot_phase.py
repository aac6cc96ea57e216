"""Phase and rate: of a line through phases, and of bare tags."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.control.pulse_positions import TooFewCounts
from bellrelay.control.slot_phase import phase_and_rate, rate_from_tags
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink


@given(
    phase=st.floats(-1e6, 1e6),
    rate=st.floats(-1e6, 1e6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_a_line_is_as_least_squares_has_it(phase, rate, seed):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 100, 40))
    sigma = rng.uniform(1.0, 10.0, 40)
    y = phase + rate * t + rng.normal(0, sigma)
    found = phase_and_rate(t, y, sigma)
    (slope, base), covariance = np.polyfit(t, y, 1, w=1 / sigma, cov="unscaled")
    assert found.rate_ps_per_s == pytest.approx(slope, rel=1e-6, abs=1e-6)
    assert found.at(0.0)[0] == pytest.approx(base, rel=1e-6, abs=1e-4)
    assert found.sigma_rate_ps_per_s == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-6)
    assert found.at(0.0)[1] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-6)
    assert found.chi_square / found.degrees < 3.0


def test_a_line_takes_two_times():
    with pytest.raises(ValueError, match="two times"):
        phase_and_rate([1.0, 1.0], [0.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="errors"):
        phase_and_rate([1.0, 2.0], [0.0, 1.0], 0.0)


@pytest.mark.parametrize("ppm", [5.0, -17.3, 0.04])
def test_a_clock_offset_is_read_off_two_milliseconds_of_tags(ppm):
    detectors = time_bin_detectors(4, cable_delays_ps=(0, 0, 0, 0))
    link = SimulatedLink(clock_offset_ppm=ppm, detectors=detectors, seed=7)
    tags = ClickStream(link, 200_000).advance(200_000).t
    found = rate_from_tags(tags, 10_000, limit_ps_per_s=30e6)
    off = found.rate_ps_per_s - ppm * 1e6
    print(f"{ppm} ppm: off by {off * 1e-6:.5f} +- {found.sigma_ps_per_s * 1e-6:.5f} ppm")
    assert abs(off) < 5 * found.sigma_ps_per_s
    assert found.sigma_ps_per_s < 5e3


def test_dark_counts_have_no_rate():
    rng = np.random.default_rng(1)
    with pytest.raises(TooFewCounts):
        rate_from_tags(np.sort(rng.integers(0, 2_000_000_000, 4000)), 10_000, limit_ps_per_s=30e6)
    with pytest.raises(TooFewCounts, match="3 tags"):
        rate_from_tags(np.arange(3), 10_000, limit_ps_per_s=30e6)
