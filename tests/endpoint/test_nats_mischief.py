"""A broker is not trusted: what it does with announcements ends as with the relay's own stream.

In the same blocks, in another try, or in a breach.
"""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.endpoint import announcements
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import Cause
from bellrelay.relay import nats_client
from bellrelay.relay.nats_batch import EXPECTED_LAST, encode_batch, parse_batch
from bellrelay.relay.nats_client import NatsAnnouncements
from bellrelay.service.nats_connection import Broker
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Announced, Event, Welcome
from bellrelay.wire.payloads import PayloadError

SLOTS = 1000
BLOCKS = 6
RELAY = "charlie-1"


def batches():
    """Messages of a relay: (payload, headers) in the order of the stream, from 1."""
    records = [Event(0, 1, {"kind": "start"})]
    for block in range(BLOCKS):
        for part in range(3):
            slots = np.arange(5, dtype=np.uint64) * 7 + np.uint64(block * SLOTS + part * 100)
            records.append(Announced(records[-1].end, 1, slots, np.ones(5, np.uint8)))
        cut = {"kind": "heartbeat", "cut_slot": (block + 1) * SLOTS}
        records.append(Event(records[-1].end, 1, cut))
    end = records[-1].end
    groups = [records[at : at + 2] for at in range(0, len(records), 2)]
    return [
        (encode_batch(RELAY, 0, end, group), {EXPECTED_LAST: str(number)})
        for number, group in enumerate(groups)
    ]


MESSAGES = batches()


class FakeBroker:
    """A NATS client, as far as we use one, whose broker has these messages and does mischief.

    mischief : for every delivery of a message, a word; once it has run out, the broker is honest.
    """

    def __init__(self, messages, mischief=()):
        self.messages = dict(enumerate(messages, 1))
        self.mischief = list(mischief)
        self.max_payload = 1 << 20
        self.acknowledged = 0
        self.connections = 0
        self._next = 1
        self._queue = asyncio.Queue()

    # ----------------------------------------------------------------------- what is asked

    def jsm(self, timeout):
        return self

    async def stream_info(self, _stream):
        class State:
            first_seq, last_seq = min(self.messages, default=1), max(self.messages, default=0)

        class Info:
            state = State

        return Info

    async def get_msg(self, _stream, seq, subject, next):
        from nats.js.api import RawStreamMsg
        from nats.js.errors import NotFoundError

        at = min((s for s in self.messages if s >= seq), default=None)
        if at is None:
            raise NotFoundError
        payload, headers = self.messages[at]
        return RawStreamMsg(subject=subject, seq=at, data=payload, headers=headers)

    async def delete_consumer(self, _stream, _consumer):
        self._queue = asyncio.Queue()

    async def add_consumer(self, _stream, config, timeout):
        self._next = config.opt_start_seq
        self.connections += 1

    def new_inbox(self):
        return "_INBOX.alice-1.x"

    async def subscribe(self, subject, **_limits):
        self.subject = subject
        return self

    async def publish(self, subject, data=b"", reply=""):
        if subject.startswith("$JS.ACK."):
            self.acknowledged += 1
        else:
            for _ in range(json.loads(data)["batch"]):
                self._deliver()

    async def next_msg(self, timeout):
        async with asyncio.timeout(timeout):
            return await self._queue.get()

    async def close(self):
        pass

    # ----------------------------------------------------------------------- what it does

    def _deliver(self):
        at = self._next
        if at not in self.messages:
            return
        what = self.mischief.pop(0) if self.mischief else "honest"
        self._next += 1
        if what == "drop":
            return
        if what == "replay":
            self._put(max(1, at - 3))
        elif what == "swap" and at + 1 in self.messages:
            self._put(at + 1)
            self._next += 1
        elif what == "foreign":
            self._put(at, payload=b'{"error": "no"}')
            return
        elif what == "hang up":
            self._put(at, status="409")
            return
        elif what == "elsewhere":
            self._put(at, place=at + 5)
            return
        self._put(at)
        if what == "twice":
            self._put(at)

    def _put(self, at, payload=None, status=None, place=None):
        from nats.aio.msg import Msg

        data, headers = self.messages[at]
        if status is not None:
            data, headers = b"", {"Status": status}
        elif payload is not None:
            data, headers = payload, None
        left = max(self.messages) - at
        reply = f"$JS.ACK.{RELAY}.alice-1.1.{place or at}.1.1700000000000000000.{left}"
        self._queue.put_nowait(Msg(self, self.subject, reply, data, headers))


class Sink:
    def __init__(self):
        self.blocks, self.breaches = [], []

    async def begun(self, begun):
        pass

    async def collected(self, block):
        self.blocks.append((str(block.block), block.slot.tolist(), block.outcome.tolist()))

    async def breached(self, breach):
        self.breaches.append(breach)


EXPECTED = [
    (
        f"1/{block}",
        [block * SLOTS + part * 100 + 7 * n for part in range(3) for n in range(5)],
        [1] * 15,
    )
    for block in range(BLOCKS)
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(announcements, "_BACKOFF_S", (0.001, 0.002))
    monkeypatch.setattr(nats_client, "_SILENCE_S", 0.02)
    monkeypatch.setattr(nats_client, "_CATCH_UP_S", 0.0)


def follow(broker, enough):
    """What a follower makes of it, and the follower."""

    async def connect(_cls, _servers, _context, _name):
        return Broker(broker)

    async def main():
        sink = Sink()
        follower = AnnouncementFollower(
            lambda wish: NatsAnnouncements.subscribe(None, None, RELAY, "alice-1", RELAY, wish),
            RELAY,
            SLOTS,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Broker, "connect", classmethod(connect))
            task = asyncio.ensure_future(follower.run(sink))
            try:
                async with asyncio.timeout(60):
                    while not enough(sink, follower):
                        await asyncio.sleep(0.001)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return sink, follower

    return asyncio.run(main())


def test_an_honest_broker():
    broker = FakeBroker(MESSAGES)
    sink, follower = follow(broker, lambda s, _f: len(s.blocks) == BLOCKS)
    assert (sink.blocks, sink.breaches) == (EXPECTED, [])
    assert follower.behind == 0


@given(
    st.lists(
        st.sampled_from(
            ["honest", "drop", "twice", "replay", "swap", "foreign", "hang up", "elsewhere"]
        ),
        max_size=40,
    )
)
@settings(max_examples=40)
def test_whatever_it_does_for_a_while_the_blocks_are_the_same(mischief):
    # What is put in a message's place while it says that nothing is missing is the next test's.
    mischief = ["drop" if word == "foreign" else word for word in mischief]
    sink, _ = follow(FakeBroker(MESSAGES, mischief), lambda s, _f: len(s.blocks) == BLOCKS)
    assert (sink.blocks, sink.breaches) == (EXPECTED, [])


def test_a_message_withheld_for_ever_is_asked_for_again_and_again():
    class Withholding(FakeBroker):
        def _put(self, at, **more):
            if at != 5:
                super()._put(at, **more)

    broker = Withholding(MESSAGES)
    sink, follower = follow(broker, lambda _s, _f: broker.connections > 3)
    assert not sink.breaches
    assert follower.reason or follower.reconnects
    assert sink.blocks == EXPECTED[: len(sink.blocks)]
    assert len(sink.blocks) < BLOCKS


@pytest.mark.parametrize("how", ["foreign message in its place", "left out and renumbered"])
def test_a_record_that_is_not_there_and_no_message_is_missing_is_a_breach(how):
    messages = list(MESSAGES)
    if how == "foreign message in its place":
        messages[4] = (b"\x00" * 100, None)
    else:
        del messages[4]
        messages = [(data, {EXPECTED_LAST: str(n)}) for n, (data, _) in enumerate(messages)]
    sink, _ = follow(FakeBroker(messages), lambda s, _f: s.breaches)
    assert [b.cause for b in sink.breaches] == [Cause.MISSING_RECORDS]
    assert sink.blocks == EXPECTED[: len(sink.blocks)]


def test_a_relay_that_no_longer_keeps_records_is_no_liar():
    """Its log was trimmed while the broker was away: endpoints begin anew, as with its stream."""
    trimmed = []
    for number, (data, headers) in enumerate(MESSAGES):
        batch = parse_batch(data, headers, number + 1)
        if number in (4, 5):
            continue
        oldest = 0 if number < 4 else batch.first
        data = encode_batch(RELAY, oldest, batch.durable, batch.records)
        trimmed.append((data, {EXPECTED_LAST: str(len(trimmed))}))
    sink, follower = follow(
        FakeBroker(trimmed), lambda _s, f: "no longer kept" in f.reason or f.reconnects > 1
    )
    assert not sink.breaches
    assert "no longer kept" in follower.reason


def test_a_log_that_began_again_is_not_waited_for():
    """The relay lost its disk, and its numbers begin anew: they are not taken for repeats."""
    again = [
        (encode_batch(RELAY, 0, batch.end, batch.records), {EXPECTED_LAST: str(len(MESSAGES) + n)})
        for n, batch in enumerate(parse_batch(*MESSAGES[n], n + 1) for n in range(2))
    ]
    broker = FakeBroker([*MESSAGES, *again])
    sink, _ = follow(broker, lambda _s, f: f.position[0] is None and f.reconnects)
    assert sink.blocks == EXPECTED
    assert not sink.breaches


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        ([(FrameType.ANNOUNCED, bytes(4))], Cause.MALFORMED),
        ([(FrameType.EVENT, bytes(8) + b"no  json")], Cause.MALFORMED),
        ([(FrameType.POSITION, bytes(8))], Cause.MALFORMED),
        ([], Cause.MALFORMED),
    ],
)
def test_what_no_relay_says_is_a_breach(records, cause):
    head = [(FrameType.WELCOME, Welcome(RELAY, 0, 0).encode()), (FrameType.POSITION, bytes(8))]
    payload = b"".join(
        encode_frame(kind, number, 1, body) for number, (kind, body) in enumerate(head + records)
    )
    sink, _ = follow(FakeBroker([(payload, {EXPECTED_LAST: "0"})]), lambda s, _f: s.breaches)
    assert [b.cause for b in sink.breaches] == [cause]


def test_a_message_says_where_it_stands():
    payload, headers = MESSAGES[2]
    assert (
        parse_batch(payload, headers, 3).first
        == parse_batch(payload, headers, 3).records[0].sequence
    )
    assert parse_batch(payload, headers, 4) is None
    assert parse_batch(payload, None, 3) is None
    assert parse_batch(payload + b"x", headers, 3) is None
    assert parse_batch(payload[:-4], headers, 3) is None
    broken = bytearray(payload)
    broken[len(payload) // 2] ^= 1
    assert parse_batch(bytes(broken), headers, 3) is None
    only = encode_frame(FrameType.WELCOME, 0, 0, Welcome(RELAY, 0, 0).encode())
    assert parse_batch(only, headers, 3) is None
    with pytest.raises(PayloadError):
        parse_batch(only + encode_frame(FrameType.POSITION, 1, 0, bytes(8)), headers, 3)
