"""Messages of the fan-out both ways, and nonsense that is none."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.wire.messages import (
    Announced,
    Event,
    From,
    Position,
    Refused,
    Subscribe,
    Welcome,
)
from bellrelay.wire.payloads import PayloadError

u64 = st.integers(0, (1 << 64) - 1)


@given(u64, st.integers(0, (1 << 32) - 1), st.integers(0, 1 << 60), st.data())
def test_announcements_come_back(sequence, acquisition, base, data):
    offsets = sorted(data.draw(st.sets(st.integers(1, (1 << 28) - 1), max_size=20)))
    slot = np.array([base, *(base + o for o in offsets)], np.uint64)
    outcome = np.array([1 + i % 2 for i in range(len(slot))], np.uint8)
    message = Announced(sequence, acquisition, slot, outcome)
    again = Announced.parse(message.encode(), acquisition)
    assert (again.sequence, again.acquisition) == (sequence, acquisition)
    assert again.slot.tolist() == slot.tolist()
    assert again.outcome.tolist() == outcome.tolist()
    rest = again.from_sequence(sequence + 3)
    assert rest.slot.tolist() == slot.tolist()[3:]
    assert rest.end == again.end or len(slot) < 3


@given(u64, st.dictionaries(st.text(), st.integers() | st.none() | st.text()))
def test_events_come_back(sequence, values):
    event = Event(sequence, 7, {**values, "kind": "gap"})
    assert len(event.encode()) % 4 == 0
    assert Event.parse(event.encode(), 7) == event


@given(st.sampled_from(From), u64, st.integers(0, (1 << 32) - 1))
def test_the_rest_comes_back(start, number, acquisition):
    for message in (
        Subscribe(start, number, acquisition),
        Position(number),
        Welcome("charlie", 0, number),
        Refused("no"),
    ):
        assert type(message).parse(message.encode()) == message


@given(st.binary(max_size=60))
def test_nonsense_is_a_payload_error_or_a_message(payload):
    for parse in (
        lambda p: Announced.parse(p, 1),
        lambda p: Event.parse(p, 1),
        Subscribe.parse,
        Position.parse,
        Welcome.parse,
        Refused.parse,
    ):
        with contextlib.suppress(PayloadError):
            parse(payload)


@pytest.mark.parametrize("payload", [b"[]", b"{}", b'{"kind": 3}', b"\xff"])
def test_an_event_without_a_kind_is_none(payload):
    with pytest.raises(PayloadError):
        Event.parse(bytes(8) + payload, 1)
