"""Clocks that differ, fibres that walk, senders that are told to send later."""

from dataclasses import replace

import numpy as np
import pytest

from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink, SyncChannel
from bellrelay_sim.source import Setting, Source

QUIET = {"dark_rate_hz": 0.0, "jitter_ps": 0.0, "afterpulse_probability": 0.0, "dead_time_ps": 0}
DARK = Source((Setting("o", 0.0, 1.0, 0.0),))
LIT = Source((Setting("s", 1.0, 1.0, 1.0),))
ALICE_ALONE = SimulatedLink(
    pulse_sigma_ps=0.0,
    alice=LIT,
    bob=DARK,
    arm_a=Arm(eta=0.5),
    detectors=time_bin_detectors(2, cable_delays_ps=(0, 0), **QUIET),
    sync=SyncChannel(slots_per_tag=100),
)


def positions(t, period=10_000):
    """Distance from the nearest pulse, whichever of the two."""
    return (t % (period // 2) - 2500 + period // 4) % (period // 2) - period // 4


def test_a_slow_sender_clock_stretches_pulses_and_sync_alike():
    link = replace(ALICE_ALONE, clock_offset_ppm=5.0)
    stream = ClickStream(link, 1_000_000)
    clicks = stream.advance(1_000_000)
    light = clicks.t[clicks.channel < 2]
    last = light[-1]
    assert last > 1_000_000 * 10_000 + 30_000
    # In the senders' time all pulses are in place again.
    back = np.rint(light / (1 + 5e-6)).astype(np.int64)
    assert np.abs(positions(back)).max() <= 1
    sync = clicks.t[clicks.channel == 2]
    expected = np.arange(len(sync)) * 1_000_000.0 * (1 + 5e-6)
    assert np.abs(sync - expected).max() <= 0.5
    assert stream.arrival_delay_ps(Party.ALICE) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="clock_offset_ppm"):
        replace(link, clock_offset_ppm=1e4)


def test_a_fibre_walks_at_random_and_the_same_way_whatever_the_chunks():
    arm = Arm(eta=0.5, walk_ps=2e3, walk_step_s=1e-4)
    link = replace(ALICE_ALONE, arm_a=arm, sync=None)
    parts = {}
    for chunk in (100_000, 1_000_000, 7_777):
        stream = ClickStream(link, 1_000_000)
        parts[chunk] = np.concatenate([c.t for c in stream.chunks(chunk)])
    np.testing.assert_array_equal(parts[100_000], parts[1_000_000])
    np.testing.assert_array_equal(parts[100_000], parts[7_777])
    # 100 steps of 20 ps each: measured against where the pulses were at the knots.
    off = positions(parts[100_000])
    knots = np.array([off[parts[100_000] // 100_000_000 == k].mean() for k in range(100)])
    assert np.std(np.diff(knots)) == pytest.approx(20.0 * np.sqrt(2 / 3), rel=0.25)
    assert not np.array_equal(parts[100_000], ClickStream(replace(link, seed=2), 1_000_000))
