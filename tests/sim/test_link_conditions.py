"""A link that is changed while it runs: delays, attenuation, halts, factors, and nature."""

import json
import math
import socket
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party, acquisition_seed
from bellrelay_sim.clicks import MAX_STEP_PS, ClickStream
from bellrelay_sim.conditions import FRAME_SLOTS, Conditions, SenderOrders, changed
from bellrelay_sim.conditions_log import ConditionsLog, ConditionsReader, replayed
from bellrelay_sim.conditions_socket import ConditionsSocket, tell_conditions
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
BUSY = SimulatedLink(arm_a=Arm(eta=0.3), arm_b=Arm(eta=0.2), sync=SyncChannel(), seed=5)


def positions(t, period=10_000):
    """Distance from the nearest pulse, whichever of the two."""
    return (t % (period // 2) - 2500 + period // 4) % (period // 2) - period // 4


def told(stream, **change):
    stream.change(changed(stream.conditions, change))


def light(stream, slots):
    clicks = stream.advance(slots)
    return clicks.t[clicks.channel < stream.link.n_detectors]


def test_a_sender_is_told_to_send_earlier_while_the_link_runs():
    stream = ClickStream(ALICE_ALONE, 300_000, changing=True)
    before = light(stream, 100_000)
    told(stream, sender="alice", delay_ps=-700.0)
    assert stream.arrival_delay_ps(Party.ALICE) == -700.0
    t = np.concatenate([before, light(stream, 100_000), light(stream, 100_000)])
    assert np.all(np.diff(t) >= 0)
    steered = t >= 100_000 * 10_000
    assert set(positions(t[~steered])) == {0}
    assert set(positions(t[steered])) == {-700}
    with pytest.raises(ValueError, match="do not change"):
        told(ClickStream(ALICE_ALONE, 10), sender="bob", delay_ps=1.0)


def test_light_that_moves_far_goes_in_steps_and_stays_in_order():
    far = 12 * MAX_STEP_PS + 1234
    for direction in (far, -far):
        stream = ClickStream(ALICE_ALONE, 60_000, changing=True)
        parts = [stream.advance(10_000).t]
        told(stream, sender="alice", delay_ps=direction)
        told(stream, arm_a={"delay_ps": 55.0})
        parts += [stream.advance(n).t for n in (1, 2, 3, 10_000)]
        assert stream.arrival_delay_ps(Party.ALICE) == direction + 55.0
        parts += [c.t for c in stream.chunks(7777)]
        assert np.all(np.diff(np.concatenate(parts)) >= 0)


def test_a_halted_sender_sends_nothing_and_one_at_a_rate_in_its_share_of_the_slots():
    stream = ClickStream(ALICE_ALONE, 12 * FRAME_SLOTS, changing=True)
    lit = light(stream, 2 * FRAME_SLOTS)
    told(stream, sender="alice", halted=True)
    dark = light(stream, 2 * FRAME_SLOTS)
    told(stream, sender="alice", halted=False, rate=0.25)
    part = light(stream, 8 * FRAME_SLOTS)
    clicks = np.concatenate([lit, dark, part]) // 10_000
    orders = stream.conditions.alice
    unsent = orders.unsent(4 * FRAME_SLOTS, 12 * FRAME_SLOTS)
    assert np.sum(unsent[:, 1] - unsent[:, 0]) == 6 * FRAME_SLOTS
    inside = np.zeros(12 * FRAME_SLOTS, bool)
    for first, end in [(2 * FRAME_SLOTS, 4 * FRAME_SLOTS), *unsent.tolist()]:
        inside[first:end] = True
    assert not inside[clicks].any()
    share = (~inside).mean()
    assert len(clicks) == pytest.approx(12 * FRAME_SLOTS * share * (1 - math.exp(-0.5)), rel=0.3)


@given(st.floats(1e-6, 1.0), st.integers(0, 5 * FRAME_SLOTS), st.integers(0, 4 * FRAME_SLOTS))
def test_unsent_slots_are_the_same_however_they_are_asked_for(rate, first, length):
    orders = SenderOrders(rate=rate)
    end = first + length
    middle = first + length // 3

    def slots(a, b):
        return {s for x, y in orders.unsent(a, b).tolist() for s in (x, y - 1)}

    def count(a, b):
        rows = orders.unsent(a, b)
        assert (rows[:, 0] < rows[:, 1]).all()
        assert (rows[1:, 0] > rows[:-1, 1]).all()
        return int(np.sum(rows[:, 1] - rows[:, 0]))

    assert count(first, end) == count(first, middle) + count(middle, end)
    assert all(s % FRAME_SLOTS >= orders.sent_of_frame for s in slots(first, end))


def test_factors_attenuation_and_loss_change_how_much_arrives():
    n = 400_000
    stream = ClickStream(ALICE_ALONE, 6 * n, changing=True)
    counts = [len(light(stream, n))]
    for change in (
        {"sender": "alice", "factors": {"s": 1.5}},
        {"sender": "alice", "factors": {"s": 1.0}, "attenuation_db": 10.0},
        {"sender": "alice", "attenuation_db": 0.0, "factors": {}},
        {"arm_a": {"eta": 0.05}},
        {"arm_a": {"eta": 0.5}, "detectors": {"c": {"efficiency": 0.0}, "d": {"efficiency": 0.0}}},
    ):
        if "detectors" in change:
            names = [d.name for d in ALICE_ALONE.detectors]
            change = {**change, "detectors": {name: {"efficiency": 0.0} for name in names}}
        told(stream, **change)
        counts.append(len(light(stream, n)))
    mean = [0.5, 0.75, 0.05, 0.5, 0.05, 0.0]
    # One early pulse may fire each detector once and more: dead time is zero here.
    expected = [n * m for m in mean]
    for found, wanted in zip(counts, expected, strict=True):
        assert abs(found - wanted) <= 5 * math.sqrt(wanted + 100)


def test_dark_counts_follow_their_rate_from_where_it_changed():
    link = replace(ALICE_ALONE, alice=DARK, sync=None)
    stream = ClickStream(link, 6_000_000, changing=True)
    names = [d.name for d in link.detectors]
    assert not len(light(stream, 2_000_000))
    told(stream, detectors={names[0]: {"dark_rate_hz": 1e6}})
    clicks = stream.advance(2_000_000)
    told(stream, detectors={names[0]: {"dark_rate_hz": 0.0}})
    late = stream.advance(2_000_000)
    assert set(clicks.channel) == {0}
    assert len(clicks.t) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))
    assert clicks.t[0] >= 2_000_000 * 10_000 - 2 * MAX_STEP_PS
    assert len(late.t) < 20


def test_drift_and_clock_change_without_a_jump():
    stream = ClickStream(ALICE_ALONE, 4_000_000, changing=True)
    parts = [stream.advance(1_000_000)]
    told(stream, arm_a={"drift_ps_per_s": 30_000.0})
    parts.append(stream.advance(1_000_000))
    told(stream, arm_a={"drift_ps_per_s": 0.0}, clock_offset_ppm=0.02)
    parts.append(stream.advance(1_000_000))
    told(stream, clock_offset_ppm=-0.01)
    parts.append(stream.advance(1_000_000))
    t = np.concatenate([c.t for c in parts])
    channel = np.concatenate([c.channel for c in parts])
    # Piece by piece: 10 ms each.
    corner = np.array([0, 1, 2, 3, 4]) * 1e10
    pulse = np.interp(t, corner, [0.0, 0.0, 300.0, 500.0, 400.0])
    assert np.abs(positions(t) - pulse)[channel < 2].max() <= 2.0
    sync = t[channel == 2]
    expected = np.arange(len(sync)) * 1_000_000
    assert np.abs(sync - expected - np.interp(expected, corner, [0, 0, 0, 200, 100])).max() <= 1.0
    assert stream.arrival_delay_ps(Party.ALICE) == pytest.approx(300.0)


CHANGES = st.sampled_from(
    [
        {"sender": "alice", "delay_ps": -250_000.0},
        {"sender": "bob", "delay_ps": 120.5, "factors": {"mu": 2.0}},
        {"sender": "bob", "halted": True},
        {"sender": "bob", "halted": False, "rate": 0.5},
        {"sender": "alice", "attenuation_db": 20.0},
        {"arm_b": {"eta": 0.0}},
        {"arm_a": {"eta": 0.0}},
        {"arm_a": {"eta": 0.4, "drift_ps_per_s": -1e6}},
        {"clock_offset_ppm": 20.0},
        {"detectors": {"D0": {"dark_rate_hz": 5e6}}},
        {"misalignment_x": 0.5, "mode_overlap": 0.1},
    ]
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9000), CHANGES), min_size=1, max_size=6),
    st.lists(st.integers(0, 3000), min_size=1, max_size=12),
)
def test_a_record_of_what_held_when_gives_the_same_clicks_again(tmp_path_factory, changes, cuts):
    folder = tmp_path_factory.mktemp("record")
    link, slots = BUSY, 60_000
    log = ConditionsLog(folder / "log")
    stream = ClickStream(link, slots, changing=True)
    log.add(7, 0, stream.conditions)
    parts = []
    for ahead, change in changes:
        end = min(stream.slot + ahead, slots)
        k = 0
        while stream.slot < end:  # cut otherwise than the replay cuts
            parts.append(stream.advance(min(1 + cuts[k % len(cuts)], end - stream.slot)))
            k += 1
        told(stream, **change)
        if stream.slot:
            log.add(7, stream.slot, stream.conditions)
        else:
            log.add(7, 0, stream.conditions)
    parts += stream.chunks(10_000)
    log.close()
    t = np.concatenate([c.t for c in parts])
    channel = np.concatenate([c.channel for c in parts])
    assert np.all(np.diff(t) >= 0)
    held = ConditionsReader(folder / "log", link).of(7)
    again = replayed(link, slots, held)
    np.testing.assert_array_equal(again.t, t)
    np.testing.assert_array_equal(again.channel, channel)
    # The same changes one slot later are another acquisition's.
    if len(held) > 1 and held[-1].slot and not stream.conditions.bob.halted:
        last = replace(held[-1], slot=held[-1].slot + 2000)
        other = replayed(link, slots + 9000, [*held[:-1], last])
        assert len(other.t) != len(t) or not np.array_equal(other.t, t)


def test_changes_come_in_at_a_socket_and_what_is_none_changes_nothing(tmp_path):
    path = tmp_path / "conditions"
    listener = ConditionsSocket(path)
    now = Conditions(BUSY)
    try:
        assert listener.receive(now) == (now, [])
        wrong = [
            b"", b"{", b"[1]", b'{"sender": "eve"}', b'{"sender": "bob", "delay_ps": NaN}',
            b'{"sender": "bob", "rate": 0}', b'{"sender": "bob", "halted": 1}',
            b'{"sender": "bob", "factors": {"x": 1.0}}', b'{"arm_a": {"eta": 2}}',
            b'{"arm_a": {"walk_ps": 2}}', b'{"detectors": {"D9": {}}}', b'{"sed": 1}',
            b'{"mode_overlap": true}', b'{"sender": "bob", "attenuation_db": -1}',
            b'{"senders": {"bob": {"speed": 1}}}', b'{"clock_offset_ppm": 1e9}',
        ]  # fmt: skip
        refused = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as raw:
            for data in wrong:
                raw.sendto(data, str(path))
                after, reasons = listener.receive(now)
                assert after == now
                refused += reasons
        tell_conditions(path, {"sender": "alice", "delay_ps": 250.0})
        # The form in which delays alone were commanded first.
        tell_conditions(path, {"party": "bob", "delay_ps": -3.0})
        after, reasons = listener.receive(now)
        assert not reasons
        assert len(refused) == len(wrong)
        assert after.alice == SenderOrders(delay_ps=250.0)
        assert after.bob == SenderOrders(delay_ps=-3.0)
        assert after.link == now.link
        assert changed(now, json.loads(json.dumps(after.values()))) == after
    finally:
        listener.close()
    assert not path.exists()


def test_each_acquisition_has_a_seed_of_its_own():
    seeds = {acquisition_seed(seed, a) for seed in (1, 2) for a in range(1, 1000)}
    assert len(seeds) == 2 * 999
    assert acquisition_seed(1, 5) == acquisition_seed(1, 5)
