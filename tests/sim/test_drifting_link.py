"""Clocks that differ, fibres that walk, senders that are told to send later."""

import socket
from dataclasses import replace

import numpy as np
import pytest

from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party
from bellrelay_sim.clicks import MAX_STEER_PS, ClickStream
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink, SyncChannel
from bellrelay_sim.sender_delays import SenderDelays, command_delay
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


def test_a_sender_is_steered_while_the_link_runs():
    stream = ClickStream(ALICE_ALONE, 300_000, steerable=True)
    before = stream.advance(100_000)
    stream.steer(Party.ALICE, -700.0)
    assert stream.arrival_delay_ps(Party.ALICE) == -700.0
    after = stream.advance(100_000)
    rest = stream.advance(100_000)
    t = np.concatenate([c.t[c.channel < 2] for c in (before, after, rest)])
    assert np.all(np.diff(t) >= 0)
    steered = t >= 100_000 * 10_000
    assert set(positions(t[~steered])) == {0}
    assert set(positions(t[steered])) == {-700}
    stream.steer(Party.ALICE, -700.0 - MAX_STEER_PS)
    with pytest.raises(ValueError, match="alice"):
        stream.steer(Party.ALICE, -701.0 - MAX_STEER_PS)
    with pytest.raises(ValueError, match="0 ps at once"):
        ClickStream(ALICE_ALONE, 10).steer(Party.BOB, 1.0)


def test_order_survives_the_largest_step_back():
    stream = ClickStream(ALICE_ALONE, 60_000, steerable=True)
    times = []
    for k in range(6):
        times.append(stream.advance(10_000).t)
        stream.steer(Party.ALICE, -float(MAX_STEER_PS) * (k + 1))
    assert np.all(np.diff(np.concatenate(times)) >= 0)


def test_senders_listen_at_a_socket_and_pass_over_what_is_no_command(tmp_path):
    senders = SenderDelays(tmp_path / "senders")
    stream = ClickStream(ALICE_ALONE, 300_000, steerable=True)
    try:
        assert not senders.receive()
        command_delay(tmp_path / "senders", Party.ALICE, 250_000.0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as raw:
            for wrong in (b"", b"{", b'{"party": "eve", "delay_ps": 1}', b'{"party": "bob"}',
                          b'{"party": "bob", "delay_ps": NaN}', b"[1]"):  # fmt: skip
                raw.sendto(wrong, str(tmp_path / "senders"))
        moves = 0
        while senders.receive():
            senders.apply(stream)
            stream.advance(10_000)
            moves += 1
        assert moves == 3  # further than one step goes
        assert stream.arrival_delay_ps(Party.ALICE) == 250_000.0
        assert stream.arrival_delay_ps(Party.BOB) == 0.0
    finally:
        senders.close()
    assert not (tmp_path / "senders").exists()
