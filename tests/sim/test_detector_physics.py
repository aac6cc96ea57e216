"""Dark counts, dead time, afterpulses and jitter, one at a time."""

import numpy as np
import pytest

from bellrelay_sim.clicks import Clicks, ClickStream
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.source import Setting, Source

VACUUM = Source((Setting("o", 0.0, 1.0, 0.0),))
SLOTS = 5_000_000
SECONDS = SLOTS * 1e-8


def run(slots: int = SLOTS, **detector: object) -> tuple[Clicks, ClickStream]:
    values = {
        "dark_rate_hz": 2e6,
        "jitter_ps": 0.0,
        "afterpulse_probability": 0.0,
        "dead_time_ps": 0,
        **detector,
    }
    link = SimulatedLink(
        alice=VACUUM,
        bob=VACUUM,
        detectors=time_bin_detectors(2, cable_delays_ps=(0, 0), **values),
        seed=9,
    )
    stream = ClickStream(link, slots)
    return stream.advance(slots), stream


def test_dark_counts_are_poisson_and_even() -> None:
    clicks, stream = run()
    expected = 2e6 * SECONDS
    for d in (0, 1):
        t = clicks.t[clicks.channel == d]
        assert abs(t.size - expected) < 4 * np.sqrt(expected)
        gaps = np.diff(t)
        assert gaps.mean() == pytest.approx(5e5, rel=4 / np.sqrt(t.size))
        assert gaps.std() == pytest.approx(5e5, rel=8 / np.sqrt(t.size))
        by_position = np.bincount(t % 10_000 // 1000, minlength=10)
        assert abs(by_position - t.size / 10).max() < 4.5 * np.sqrt(t.size / 10)
    assert stream.fates.dark_dead.sum() == 0


def test_dead_time_is_non_extending() -> None:
    """Clicks per second R / (1 + R D), and no two of a detector closer than D."""
    dead = 300_000
    clicks, stream = run(dead_time_ps=dead)
    expected = 2e6 * SECONDS / (1 + 2e6 * dead * 1e-12)
    for d in (0, 1):
        t = clicks.t[clicks.channel == d]
        assert np.diff(t).min() >= dead
        assert abs(t.size - expected) < 4 * np.sqrt(expected)
    fates = stream.fates
    arrived = fates.dark_clicks + fates.dark_dead
    assert np.all(abs(arrived - 2e6 * SECONDS) < 4 * np.sqrt(2e6 * SECONDS))


def test_a_click_exactly_one_dead_time_later_is_kept() -> None:
    """At an enormous rate the gap D itself occurs, the gap D - 1 never."""
    dead = 20
    link = SimulatedLink(
        alice=VACUUM,
        bob=VACUUM,
        detectors=time_bin_detectors(
            2,
            cable_delays_ps=(0, 0),
            dark_rate_hz=1e11,
            jitter_ps=0.0,
            afterpulse_probability=0.0,
            dead_time_ps=dead,
        ),
    )
    clicks = ClickStream(link, 100).advance(100)
    assert np.diff(clicks.t[clicks.channel == 0]).min() == dead


def test_afterpulses_follow_their_click() -> None:
    """At a low rate: a part p exp(-D / tau) of clicks is followed, D + Exp(tau) later."""
    p, tau, dead = 0.2, 50_000.0, 30_000
    clicks, stream = run(
        slots=10 * SLOTS,
        dark_rate_hz=2e4,
        afterpulse_probability=p,
        afterpulse_tau_ps=tau,
        dead_time_ps=dead,
    )
    fates = stream.fates
    seeds = int((fates.dark_clicks + fates.afterpulse_clicks).sum())
    released = int((fates.afterpulse_clicks + fates.afterpulse_dead).sum())
    assert abs(released - p * seeds) < 4 * np.sqrt(p * (1 - p) * seeds)
    seen = int(fates.afterpulse_clicks.sum())
    odds = np.exp(-dead / tau)
    # Dark counts between a click and its afterpulse hide a few more.
    assert abs(seen - odds * released) < 4 * np.sqrt(odds * released) + 0.02 * released
    gaps = np.concatenate([np.diff(clicks.t[clicks.channel == d]) for d in (0, 1)])
    close = gaps[gaps < 200_000] - dead
    assert close.min() >= 0
    assert close.size == pytest.approx(seen, rel=0.1)
    assert np.median(close) == pytest.approx(tau * np.log(2), rel=0.1)


def test_jitter_moves_clicks_but_not_the_dead_time() -> None:
    still, first = run(dead_time_ps=300_000)
    moved, second = run(dead_time_ps=300_000, jitter_ps=60.0)
    assert first.fates.by_name() == second.fates.by_name()
    for d in (0, 1):
        shift = moved.t[moved.channel == d] - still.t[still.channel == d]
        assert shift.std() == pytest.approx(60.0, rel=0.02)
        assert abs(shift.mean()) < 4 * 60 / np.sqrt(shift.size)
        assert abs(shift).max() <= 361
