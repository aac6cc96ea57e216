"""Dead time and afterpulses from intervals between clicks, against what was simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bellrelay.control.click_intervals import TooFewClicks, click_intervals, fit_dead_time
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.link_config import link_and_geometry

TAU_PS = 50_000.0


def clicks(
    dead_ps: int, trap: float, *, slots: int = 20_000_000, seed: int = 3
) -> NDArray[np.int64]:
    """Of one detector at 100 MHz, 1.1 MHz of clicks, jitter 60 ps."""
    detector = {"dead_time_ps": dead_ps, "afterpulse_probability": trap, "dark_rate_hz": 1000.0}
    link, _ = link_and_geometry(
        {
            "detectors": [{"name": f"D{at}", "port": "cd"[at], **detector} for at in (0, 1)],
            "arm_a": {"eta": 0.05},
            "arm_b": {"eta": 0.05},
            "seed": seed,
        }
    )
    clicked = ClickStream(link, slots).advance(slots)
    return clicked.t[clicked.channel == 0]


def fit(t: NDArray[np.int64], **given: float):  # type: ignore[no-untyped-def]
    return fit_dead_time(click_intervals(t, 0.2, **given), 10_000.0)


# 30 and 45 ns end on a pulse, 27.3 between two, where only afterpulses show the edge.
@pytest.mark.parametrize(("dead_ps", "trap"), [(30_000, 0.03), (45_000, 0.06), (27_300, 0.06)])
def test_what_was_simulated_is_found_within_its_errors(dead_ps: int, trap: float) -> None:
    found = fit(clicks(dead_ps, trap))
    assert abs(found.dead_time_ps - dead_ps) < 4.0 * found.sigma_dead_time_ps
    assert found.sigma_dead_time_ps < 100.0
    # The model stops at carriers of the click before; what is left is a few per cent.
    assert abs(found.trap - trap) < 4.0 * found.sigma_trap + 0.03 * trap
    seen = trap * math.exp(-dead_ps / TAU_PS)
    assert abs(found.afterpulse - seen) < 4.0 * found.sigma_afterpulse + 0.03 * seen
    assert abs(found.tau_ps - TAU_PS) < 4.0 * found.sigma_tau_ps
    assert found.sigma_tau_ps < 0.1 * TAU_PS


def test_error_bars_are_what_they_say() -> None:
    pulls = []
    for seed in range(8):
        found = fit(clicks(30_000, 0.05, slots=16_000_000, seed=50 + seed))
        pulls.append(
            [
                (found.dead_time_ps - 30_000) / found.sigma_dead_time_ps,
                (found.trap - 0.05) / found.sigma_trap,
                (found.tau_ps - TAU_PS) / found.sigma_tau_ps,
            ]
        )
    spread = np.std(pulls, axis=0)
    assert ((spread > 0.4) & (spread < 1.8)).all(), spread
    assert (np.abs(np.mean(pulls, axis=0)) < 1.5).all(), pulls


def test_a_detector_without_traps_has_none_and_an_open_edge_is_told() -> None:
    found = fit(clicks(27_300, 0.0))
    assert found.trap == 0.0
    assert math.isnan(found.tau_ps)
    assert found.sigma_trap < 1e-3
    # Between pulses at 25 and 30 ns hardly anything clicks.
    assert found.sigma_dead_time_ps > 200.0
    assert 24_900 < found.dead_time_ps < 30_100


def test_a_detector_of_steady_light() -> None:
    rng = np.random.default_rng(5)
    t = np.cumsum(rng.exponential(1e6, 300_000) + 62_000.0).astype(np.int64)
    found = fit_dead_time(click_intervals(t, t[-1] * 1e-12, reach_ps=3e6), 0.0)
    assert abs(found.dead_time_ps - 62_000) < 4.0 * found.sigma_dead_time_ps + 10.0
    assert found.sigma_dead_time_ps < 150.0
    assert found.trap == 0.0


def test_what_cannot_be_known_is_refused() -> None:
    t = clicks(30_000, 0.03, slots=200_000)
    with pytest.raises(TooFewClicks, match="intervals of"):
        fit(t)
    with pytest.raises(ValueError, match="no time"):
        click_intervals(t, 0.0)
    rng = np.random.default_rng(6)
    slow = np.cumsum(rng.exponential(2e6, 200_000) + 1_500_000.0).astype(np.int64)
    with pytest.raises(TooFewClicks, match="no shorter than"):
        fit_dead_time(click_intervals(slow, 1.0), 0.0)


def test_traps_that_outlast_the_intervals_are_refused() -> None:
    t = clicks(30_000, 0.06)
    with pytest.raises(TooFewClicks, match="trapped for"):
        fit(t, reach_ps=4e5)


def test_afterpulses_in_excess_are_seen_and_not_those_of_brightness() -> None:
    """Twice the light is no afterpulse."""
    bright = clicks(30_000, 0.0, seed=9)
    assert fit(bright).trap == 0.0
    # The same clicks with a second one after some.
    rng = np.random.default_rng(10)
    some = rng.random(len(bright)) < 0.02
    late = bright[some] + (31_000 + rng.exponential(TAU_PS, some.sum())).astype(np.int64)
    found = fit(np.sort(np.concatenate((bright, late))))
    assert found.afterpulse == pytest.approx(0.02, abs=0.002)
