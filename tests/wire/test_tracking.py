"""Tracking slots by number, and the event that tells of the clicks in them."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Event
from bellrelay.wire.payloads import PayloadError
from bellrelay.wire.tracking import MAX_CLICKS, TrackingClicks, TrackingSlots

SCHEDULES = st.integers(1, 60).flatmap(
    lambda every: st.builds(TrackingSlots, st.just(every), st.integers(0, every // 2))
)


@given(SCHEDULES, st.integers(0, 300), st.integers(0, 300))
def test_count_and_list_are_those_that_lie_inside(schedule, first, length):
    slots = np.arange(first, first + length, dtype=np.uint64)
    truth = [k for k in range(first, first + length) if k % schedule.every < schedule.length]
    assert slots[schedule.inside(slots)].tolist() == truth
    assert schedule.count(first, first + length) == len(truth)
    assert schedule.within(first, first + length, 10**6).tolist() == truth
    assert schedule.within(first, first + length, 7).tolist() == truth[:7]


def test_late_slots_are_counted_as_exactly():
    schedule = TrackingSlots(250_000, 1000)
    last = (1 << 63) - 1
    turns, rest = divmod(last, 250_000)
    assert schedule.count(0, last) == 1000 * turns + min(rest, 1000)
    first = last - last % 250_000
    slots = schedule.within(first, first + 5000, 10**6)
    assert slots.tolist() == list(range(first, first + 1000))
    assert schedule.inside(slots).all()
    assert not schedule.inside(slots + np.uint64(1000)).any()


@pytest.mark.parametrize(("every", "length"), [(0, 0), (10, 6), (10, -1), (-5, 0)])
def test_a_schedule_of_more_than_half_or_of_nothing_is_none(every, length):
    with pytest.raises(ValueError, match="slots for tracking"):
        TrackingSlots(every, length)


def clicks(n=5, first=1000):
    rng = np.random.default_rng(1)
    return TrackingClicks(
        first,
        first + 900,
        np.sort(rng.integers(first, first + 900, n).astype(np.uint64)),
        rng.integers(0, 10_000, n).astype(np.int32),
        rng.integers(0, 4, n).astype(np.uint8),
    )


def test_what_is_published_is_read_again_and_fits_a_frame():
    for n in (0, 5, MAX_CLICKS):
        sent = clicks(n, first=(1 << 62))
        event = Event(1 << 60, 7, sent.values())
        encode_frame(FrameType.EVENT, 0, 7, event.encode())
        event = Event.parse(event.encode(), 7)
        assert event.kind == TrackingClicks.KIND
        got = TrackingClicks.parse(event.values)
        assert (got.first_slot, got.end_slot) == (sent.first_slot, sent.end_slot)
        for name in ("slot", "position_ps", "detector"):
            np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
            assert getattr(got, name).dtype == getattr(sent, name).dtype
    with pytest.raises(ValueError, match="do not fit"):
        clicks(MAX_CLICKS + 1).values()


BAD = [
    {"first_slot": -1},
    {"first_slot": 1900},
    {"first_slot": "1000"},
    {"first_slot": True},
    {"first_slot": None},
    {"end_slot": 1 << 63},
    {"end_slot": 1000 + (1 << 41)},
    {"end_slot": 1001.0},
    {"slot": None},
    {"slot": "no base 64!"},
    {"slot": base64.b64encode(b"123").decode()},
    {"slot": base64.b64encode(np.array([1, 2, 3, 4, 5], "<u8").tobytes()).decode()},
    {"slot": "A" * 10**6},
    {"detector": base64.b64encode(b"1234").decode()},
    {"detector": ["a"]},
    {"position_ps": {"a": 1}},
]


@pytest.mark.parametrize("change", BAD, ids=[str(b)[:40] for b in BAD])
def test_what_is_no_such_event_is_refused_whatever_it_is(change):
    values = {**clicks().values(), **change}
    with pytest.raises(PayloadError, match="tracking"):
        TrackingClicks.parse(values)
