"""The follower of a relay's fan-out: real server, real log, breaks, restarts, breaches."""

import asyncio
import contextlib
import struct

import numpy as np
import pytest

from bellrelay.endpoint.announcement_rules import BlockBegun
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import BlockId, Cause
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut
from bellrelay.relay.fanout import FanOutServer
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Welcome

SLOTS = 1000


class Sink:
    """Keeps what it is given."""

    def __init__(self):
        self.begins, self.blocks, self.breaches = [], [], []

    async def begun(self, begun):
        self.begins.append(begun)

    async def collected(self, block):
        self.blocks.append(block)

    async def breached(self, breach):
        self.breaches.append(breach)


def fill(log, slots, acquisition=1):
    slots = np.array(slots, np.uint64)
    log.append_announcements(acquisition, slots, np.ones(slots.size, np.uint8))
    log.sync()


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def served(tmp_path, log):
    server = FanOutServer(FanOut(unix_socket=tmp_path / "fan"), "charles", log)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def following(tmp_path, sink, begin=None, relay_id="charles", connect=None):
    follower = AnnouncementFollower(
        connect or (lambda wish: AnnouncementClient.unix(tmp_path / "fan", wish)),
        relay_id,
        SLOTS,
        begin,
    )
    task = asyncio.ensure_future(follower.run(sink))
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(coroutine):
    asyncio.run(coroutine)


@pytest.fixture
def log(tmp_path):
    log = AnnouncementLog(tmp_path / "log")
    log.append_event(1, {"kind": "start"})
    log.sync()
    yield log
    log.close()


def test_blocks_come_as_the_log_grows(tmp_path, log):
    async def main():
        sink = Sink()
        async with served(tmp_path, log) as server, following(tmp_path, sink) as follower:
            fill(log, range(0, 2500, 10))
            server.grown()
            await until(lambda: len(sink.blocks) == 2)
            assert follower.connected
            assert [b.slot.tolist() for b in sink.blocks] == [
                list(range(0, 1000, 10)),
                list(range(1000, 2000, 10)),
            ]
            assert follower.position == (251, "1/2")

    run(main())


def test_a_relay_that_goes_away_is_followed_on_from_the_next_record(tmp_path, log):
    async def main():
        sink = Sink()
        async with following(tmp_path, sink) as follower:
            async with served(tmp_path, log) as server:
                fill(log, range(0, 1500, 10))
                server.grown()
                await until(lambda: len(sink.blocks) == 1)
            async with served(tmp_path, log):
                fill(log, range(1500, 2500, 10))
                await until(lambda: len(sink.blocks) == 2)
            assert follower.reconnects >= 1
            assert sink.blocks[1].slot.tolist() == list(range(1000, 2000, 10))

    run(main())


def test_another_process_goes_on_where_a_block_began(tmp_path, log):
    async def main():
        fill(log, range(0, 2500, 10))
        sink = Sink()
        async with served(tmp_path, log):
            begin = BlockBegun(BlockId(1, 1), 101)
            async with following(tmp_path, sink, begin):
                await until(lambda: len(sink.blocks) == 1)
            assert sink.blocks[0].slot.tolist() == list(range(1000, 2000, 10))
            assert [b.block for b in sink.begins] == [BlockId(1, 2)]

    run(main())


def test_a_position_that_is_no_longer_kept_is_given_up(tmp_path, log):
    async def main():
        sink = Sink()
        async with served(tmp_path, log) as server:
            begin = BlockBegun(BlockId(1, 50), 10_000)
            async with following(tmp_path, sink, begin) as follower:
                await until(lambda: follower.connected)
                fill(log, range(500, 4000, 10))
                server.grown()
                await until(lambda: len(sink.blocks) >= 2)
        # Of the block that was under way there is no whole list.
        assert sink.begins[0].block == BlockId(1, 1)
        assert sink.blocks[0].slot[0] == 1000

    run(main())


def test_another_relay_is_not_followed(tmp_path, log):
    async def main():
        sink = Sink()
        fill(log, range(0, 2500, 10))
        async with served(tmp_path, log), following(tmp_path, sink, None, "chris") as follower:
            await until(lambda: "charles" in follower.reason)
        assert not sink.blocks
        assert not sink.breaches

    run(main())


def liar(*frames):
    """A relay that greets well and then sends these frames: (type, acquisition, payload)."""

    async def serve(reader, writer):
        await reader.read(100)
        sent = [(FrameType.WELCOME, 0, Welcome("charles", 0, 0).encode()), *frames]
        for number, (kind, acquisition, payload) in enumerate(sent):
            writer.write(encode_frame(kind, number, acquisition, payload))
        await writer.drain()
        await reader.read(100)
        writer.close()

    return serve


def said(sequence, *records):
    """An ANNOUNCED payload of (slot, outcome)."""
    words = b"".join(struct.pack("<I", slot | outcome << 28) for slot, outcome in records)
    return (FrameType.ANNOUNCED, 1, struct.pack("<QQ", sequence, 0) + words)


START = (FrameType.EVENT, 1, struct.pack("<Q", 0) + b'{"kind":"start"}')


@pytest.mark.parametrize(
    ("frames", "cause"),
    [
        ([START, said(1, (5, 1)), said(2, (5, 1))], Cause.DUPLICATE_SLOT),
        ([START, said(1, (5, 1)), said(2, (5, 2))], Cause.TWO_OUTCOMES),
        ([START, said(1, (5, 1)), said(2, (4, 1))], Cause.NOT_INCREASING),
        ([START, said(1, (5, 1), (5, 2))], Cause.MALFORMED),
        ([START, said(1, (5, 3))], Cause.MALFORMED),
        ([START, (FrameType.ANNOUNCED, 1, bytes(4))], Cause.MALFORMED),
        ([START, (FrameType.EVENT, 1, struct.pack("<Q", 1) + b"no  json")], Cause.MALFORMED),
        ([START, said(3, (5, 1))], Cause.MISSING_RECORDS),
        (
            [START, (FrameType.POSITION, 0, struct.pack("<Q", 9)), said(9, (5, 1))],
            Cause.MISSING_RECORDS,
        ),
        ([START, (FrameType.ANNOUNCED, 2, said(1, (5, 1))[2])], Cause.WRONG_ACQUISITION),
    ],
)
def test_a_relay_that_lies_is_followed_no_further(tmp_path, frames, cause):
    async def main():
        sink = Sink()
        server = await asyncio.start_unix_server(liar(*frames), tmp_path / "fan")
        try:
            async with following(tmp_path, sink) as follower:
                await until(lambda: sink.breaches)
                assert not follower.connected
        finally:
            server.close()
        assert [b.cause for b in sink.breaches] == [cause]
        assert not sink.blocks

    run(main())


def test_events_of_any_kind_are_handed_on_and_end_no_block(tmp_path):
    """Also where what is made of them fails: what a relay says of itself is no announcement."""

    async def main():
        log = AnnouncementLog(tmp_path / "log")
        log.append_event(1, {"kind": "start"})
        fill(log, [10, 20])
        log.append_event(1, {"kind": "tracking", "first_slot": "none", "slot": [{}] * 100})
        log.append_event(1, {"kind": "never heard of"})
        fill(log, [1010])
        sink, seen = Sink(), []

        def take(relay_id, event):
            seen.append((relay_id, event.kind, event.acquisition))
            raise ValueError(event)

        async with served(tmp_path, log), following(tmp_path, sink) as follower:
            follower.take_event = take
            await until(lambda: sink.blocks)
        log.close()
        assert [b.slot.tolist() for b in sink.blocks] == [[10, 20]]
        assert not sink.breaches
        kinds = ["start", "tracking", "never heard of"]
        assert seen == [("charles", kind, 1) for kind in kinds]

    run(main())


def test_events_of_another_acquisition_than_the_one_that_runs_are_not_handed_on(tmp_path):
    """What is kept of each acquisition would fill the disk, if a relay could name any."""
    other = (FrameType.EVENT, 7, struct.pack("<Q", 1) + b'{"kind":"tracking"} ')
    same = (FrameType.EVENT, 1, struct.pack("<Q", 2) + b'{"kind":"tracking"} ')

    async def main():
        seen = []
        server = await asyncio.start_unix_server(liar(START, other, same), tmp_path / "fan")
        try:
            async with following(tmp_path, Sink()) as follower:
                follower.take_event = lambda _relay, event: seen.append(event.acquisition)
                await until(lambda: len(seen) == 2)
        finally:
            server.close()
        assert seen == [1, 1]

    run(main())
