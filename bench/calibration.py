"""What calibration's estimators find of a simulated detector, against what was simulated.

A detector at 100 MHz of slots and about a million clicks a second; every figure is a mean over the
seeds, with its scatter, the error that the estimator tells, and the ratio of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bellrelay.control.click_intervals import click_intervals, fit_dead_time
from bellrelay.control.pulse_search import find_pulses
from bellrelay.control.quiet_counts import quiet_counts
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.link_config import link_and_geometry

SLOTS, PERIOD = 40_000_000, 10_000
SEEDS = range(36)
CABLE_PS, DARK_HZ, TRAP, TAU_PS = 1370, 2000.0, 0.03, 50_000.0
LIT = ((1_700, 3_300), (6_700, 8_300))


def clicks(seed: int, dead_ps: int) -> np.ndarray:
    """Of one detector."""
    detector = {
        "dead_time_ps": dead_ps, "afterpulse_probability": TRAP, "afterpulse_tau_ps": TAU_PS,
        "dark_rate_hz": DARK_HZ, "cable_delay_ps": CABLE_PS,
    }  # fmt: skip
    link, _ = link_and_geometry(
        {
            "detectors": [{"name": f"D{at}", "port": "cd"[at], **detector} for at in (0, 1)],
            "arm_a": {"eta": 0.05},
            "arm_b": {"eta": 0.05},
            "seed": 100 + seed,
        }
    )
    clicked = ClickStream(link, SLOTS).advance(SLOTS)
    return clicked.t[clicked.channel == 0]


def told(name: str, unit: str, truth: float, seen: list[tuple[float, float]]) -> None:
    """One line."""
    values, sigmas = np.array(seen).T
    scatter, sigma = values.std(ddof=1), sigmas.mean()
    print(
        f"{name:34} {truth:9.5g} {values.mean():9.5g} {scatter:8.2g} {sigma:8.2g} "
        f"{scatter / sigma:6.2f}  {unit}"
    )


def main() -> None:
    """All of it."""
    seconds = SLOTS * PERIOD * 1e-12
    print(f"{len(SEEDS)} seeds, {seconds:g} s of one detector each")
    print(f"{'':34} {'truth':>9} {'found':>9} {'scatter':>8} {'told':>8} {'ratio':>6}")
    spent = 0.0
    # Where a pulse ends the dead time, and where none does.
    for dead_ps in (30_000, 27_300):
        fits, delays, darks = [], [], []
        for seed in SEEDS:
            t = clicks(seed, dead_ps)
            begin = time.process_time()
            fits.append(fit_dead_time(click_intervals(t, seconds), PERIOD))
            spent += time.process_time() - begin
            position = t % PERIOD
            counts = np.bincount(position // 16, minlength=1024)
            pulses, shifts = find_pulses(
                counts, bin_ps=16, period_ps=PERIOD, near_ps=(2_500.0, 7_500.0)
            )
            delays.append((float(np.mean(shifts)), pulses.positions.sigma_shift_ps))
            dark = quiet_counts(
                t, (t - CABLE_PS) % PERIOD, (0, SLOTS * PERIOD),
                quiet_ps=5e5, period_ps=PERIOD, lit_ps=LIT,
            )  # fmt: skip
            darks.append((dark.rate_hz, (dark.high_hz - dark.low_hz) / 3.92))
        what: list[tuple[str, str, float, Callable[..., tuple[float, float]]]] = [
            ("dead time", "ps", dead_ps, lambda f: (f.dead_time_ps, f.sigma_dead_time_ps)),
            ("probability of a trapped carrier", "", TRAP, lambda f: (f.trap, f.sigma_trap)),
            ("its lifetime", "ps", TAU_PS, lambda f: (f.tau_ps, f.sigma_tau_ps)),
        ]
        for name, unit, truth, of in what:
            told(name, unit, truth, [of(fit) for fit in fits])
        told("delay of the cable", "ps", CABLE_PS, delays)
        told("dark counts", "Hz", DARK_HZ, darks)
    print(f"a fit of dead time and traps takes {spent / 2 / len(SEEDS):.2f} s")


if __name__ == "__main__":
    main()
