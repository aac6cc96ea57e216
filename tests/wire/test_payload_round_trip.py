"""Payloads survive the round trip, and malformed ones are refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.wire.counters import counters, loss_counters
from bellrelay.wire.frames import FrameType, Status
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import (
    Announcements,
    Command,
    Heartbeat,
    Histogram,
    Loss,
    PayloadError,
    Response,
    Tags,
)
from bellrelay.wire.registers import State

GEOMETRY = BoardGeometry()
U64 = st.integers(0, 2**64 - 1)


@given(
    st.integers(0, 2**63), st.lists(st.integers(0, 2**28 - 1), min_size=1, unique=True), st.data()
)
def test_announcements(base, offsets, data):
    slot = np.array([base + o - min(offsets) for o in sorted(offsets)], np.uint64)
    outcome = np.array(
        data.draw(st.lists(st.sampled_from([1, 2]), min_size=len(slot), max_size=len(slot))),
        np.uint8,
    )
    again = Announcements.parse(Announcements(17, slot, outcome).encode())
    assert again.cut_tick == 17
    np.testing.assert_array_equal(again.slot, slot)
    np.testing.assert_array_equal(again.outcome, outcome)
    assert (again.slot.dtype, again.outcome.dtype) == (np.uint64, np.uint8)


@given(st.integers(0, 2**62), st.data())
def test_times_of_tags_come_back_in_full(cut, data):
    ages = data.draw(st.lists(st.integers(1, min(2**56, max(1, cut))), max_size=20))
    time = np.array(sorted(cut - a for a in ages if a <= cut), np.int64)
    words = (time.astype(np.uint64) & np.uint64(2**56 - 1)) | np.uint64(3 << 56)
    again = Tags.parse(Tags(cut, words).encode())
    np.testing.assert_array_equal(again.time(), time)
    assert set(again.channel()) <= {3}
    assert again.time().dtype == np.int64


@given(
    st.dictionaries(st.sampled_from([c.name for c in counters(GEOMETRY)]), U64),
    st.sampled_from(list(State)),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
)
def test_heartbeat(values, state, final, temperature):
    beat = Heartbeat(state, final, {"temperature_mdegc": temperature, "cut_slot": 2**63}, values)
    again = Heartbeat.parse(beat.encode(GEOMETRY), GEOMETRY)
    assert (again.state, again.final) == (state, final)
    assert again.fields["temperature_mdegc"] == temperature
    assert again.fields["cut_slot"] == 2**63
    assert again.counters == {c.name: values.get(c.name, 0) for c in counters(GEOMETRY)}


def test_loss_histogram_command_response():
    totals = {c.name: i for i, c in enumerate(loss_counters(GEOMETRY))}
    assert Loss.parse(Loss(3, 9, totals).encode(GEOMETRY), GEOMETRY) == Loss(3, 9, totals)
    bins = np.arange(7, dtype=np.uint32)
    again = Histogram.parse(Histogram(2, 4, 256, 10, 20, bins).encode())
    assert (again.period, again.channel, again.first_bin) == (2, 4, 256)
    assert (again.start_tick, again.end_tick) == (10, 20)
    np.testing.assert_array_equal(again.counts, bins)
    write = Command(5, 0x63, 2, (1, 2))
    assert Command.parse(FrameType.WRITE, write.encode()) == write
    read = Command(5, 0x63, 2)
    assert Command.parse(FrameType.READ, read.encode()) == read
    answer = Response(5, Status.LOCKED, FrameType.WRITE, 0x63, 2)
    assert Response.parse(answer.encode()) == answer


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (Announcements.parse, b"\0" * 15),
        (Announcements.parse, b"\0" * 20),  # outcome 0
        (Announcements.parse, b"\0" * 16 + b"\5\0\0\x10" * 2),  # one slot twice
        (Announcements.parse, b"\xff" * 16 + b"\5\0\0\x10"),  # beyond 64 bits
        (Tags.parse, b"\0" * 12),
        (Histogram.parse, b"\0" * 23),
        (Response.parse, b"\0\0\0\0\xff\0\0\0\0\0\0\0"),
        (lambda p: Loss.parse(p, GEOMETRY), b"\0" * 16),
        (lambda p: Heartbeat.parse(p, GEOMETRY), b"\0" * 16),
        (lambda p: Command.parse(FrameType.WRITE, p), b"\0\0\0\0\0\0\2\0\0\0\0\0"),
        (lambda p: Command.parse(FrameType.READ, p), b"\0" * 8),
    ],
)
def test_malformed_payloads_are_refused(parse, payload):
    with pytest.raises(PayloadError):
        parse(payload)
