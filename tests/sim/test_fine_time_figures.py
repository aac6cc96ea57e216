"""What must hold of fine time, on simulated lines of full length, with the gateware's arithmetic.

That this arithmetic is the gateware's, bit for bit, is in tests/gateware: test_code_density.py,
test_skew.py, test_calibrated_timing.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from bellrelay.tags.linearity import code_times_ps, differential_nonlinearity
from bellrelay_sim.tapped_line import (
    ClockEdges,
    DelayLineModel,
    arrivals_to_codes,
    made_up_line,
    sample_line,
)
from bellrelay_sim.timing_errors import calibrate, timing_errors

SINGLE_PS, PAIR_PS, LOST = 20.0, 28.0, 1e-3
TYPICAL = {"odd_late_ps": 72.0, "mismatch_ps": 0.0, "tile_ps": 0.0, "dead_share": 0.0}


def lines_of(seed: int, **line: float) -> list[DelayLineModel]:
    return [made_up_line(10 * seed + k, entry_ps=1500 + 400.0 * k, **line) for k in range(3)]


@pytest.mark.parametrize(
    ("seed", "line"), [(0, {}), (1, {}), (2, {}), (3, {"mismatch_ps": 12.0}), (0, TYPICAL)]
)
def test_errors_and_losses_after_calibration_and_after_30_kelvin_with_tracking(seed, line):
    cold = lines_of(seed, **line)
    for now, last_run in ((0.0, 0.0), (30.0, 28.0)):
        calibration = calibrate([one.at(last_run) for one in cold], seed=seed)
        errors = timing_errors([one.at(now) for one in cold], calibration, seed=77 + seed)
        assert errors.single_rms_ps.max() <= SINGLE_PS
        assert errors.pair_rms_ps <= PAIR_PS
        assert errors.lost_share < LOST


def test_drift_without_tracking_breaks_the_figures():
    """The test above could fail: 30 K make the times wrong by more than is allowed."""
    cold = lines_of(0)
    errors = timing_errors([one.at(30.0) for one in cold], calibrate(cold))
    assert errors.single_rms_ps.min() > SINGLE_PS
    assert errors.pair_rms_ps > PAIR_PS


def test_a_table_of_equal_codes_breaks_the_figures():
    """Nor is calibration for nothing."""
    cold = lines_of(0)
    calibration = calibrate(cold)
    even = np.tile(np.arange(256) * 5000 // 256, (len(cold), 1))
    errors = timing_errors(cold, type(calibration)(calibration.counts, even, calibration.skew_ps))
    assert errors.single_rms_ps.min() > 10 * SINGLE_PS


def test_wrong_cells_would_be_lost_pairs():
    """A jump by a clock in the first codes of one channel is seen by the windows."""
    cold = lines_of(0)
    calibration = calibrate(cold)
    times = calibration.times_ps.copy()
    used = np.flatnonzero(calibration.counts[1])
    times[1][used[:4]] += 5000
    errors = timing_errors(cold, type(calibration)(calibration.counts, times, calibration.skew_ps))
    assert errors.lost_share > LOST


def test_lines_are_realistic():
    """Bubbles, bins of no width, wide bins, 33 ps on average, and enough of them for 5 ns."""
    for seed in range(5):
        line = made_up_line(seed)
        step = np.diff(line.delay_ps)
        assert (step < 0).any()
        assert np.ptp(line.delay_ps) / (line.delay_ps.size - 1) == pytest.approx(33, abs=1)
        assert np.ptp(line.delay_ps) > 5000
        width = np.diff(np.sort(line.delay_ps))
        assert (width == 0).sum() >= 3
        assert width.max() > 60
        assert made_up_line(seed).at(15).delay_now_ps == pytest.approx(line.delay_ps * 1.013)


def test_counting_is_sampling():
    """The short way from arrivals to codes agrees with counting the taps of real samples."""
    rng = np.random.default_rng(3)
    line = made_up_line(5)
    edges = ClockEdges(5000, 10.0, seed=2)
    arrivals = np.cumsum(rng.uniform(30_000, 60_000, 300))
    clock, code = arrivals_to_codes(line, arrivals, edges)
    edge_ps = edges.at(np.arange(clock[-1] + 2))
    samples = sample_line(line, arrivals, edge_ps, width_ps=15_000)
    begins = np.flatnonzero(samples[1:, 0] & ~samples[:-1, 0]) + 1
    assert (begins == clock).all()
    assert (line.delay_ps.size - samples[begins].sum(axis=1) == code).all()


def test_clock_edges_have_the_jitter_asked_for():
    edges = ClockEdges(5000, 10.0, seed=4)
    clocks = np.arange(100_000)
    assert np.std(edges.at(clocks) - clocks * 5000) == pytest.approx(10, rel=0.02)
    times = np.random.default_rng(1).uniform(0, 5e8, 10_000)
    first = edges.first_after(times)
    assert (edges.at(first) > times).all()
    assert (edges.at(first - 1) <= times).all()
    with pytest.raises(ValueError, match="jitter_ps"):
        ClockEdges(5000, 600)


def test_counts_show_the_dead_taps():
    calibration = calibrate(lines_of(0))
    dnl = differential_nonlinearity(calibration.counts[0])
    assert np.nanmin(dnl) == -1
    assert np.nanmax(dnl) > 1
    assert (calibration.times_ps[0] == code_times_ps(calibration.counts[0], 5000)).all()
