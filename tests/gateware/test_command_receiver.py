"""Commands out of a damaged byte stream: the receiver against a model of few lines."""

from __future__ import annotations

import random

from amaranth.sim import Simulator

from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay_gateware.command_receiver import CommandReceiver


def _run(data: list[int | None], busy=lambda clock: False, timeout: int = 500):
    """Feed one byte per clock (None: no byte). Gives events (clock, what) and payloads."""
    dut = CommandReceiver(timeout)
    events: list[tuple[int, str]] = []
    payloads: list[list[int]] = []

    async def bench(ctx):
        clock = 0

        async def step(byte: int | None) -> None:
            nonlocal clock
            ctx.set(dut.busy, busy(clock))
            ctx.set(dut.link_in.valid, byte is not None)
            ctx.set(dut.link_in.payload, byte or 0)
            await ctx.tick()
            clock += 1
            for name in ("arrived", "bad", "dropped"):
                if ctx.get(getattr(dut, name)):
                    events.append((clock, name))

        for byte in data:
            await step(byte)
            if events and events[-1] == (clock, "arrived"):
                words = []
                for address in range(ctx.get(dut.words)):
                    ctx.set(dut.read_addr, address)
                    await step(None)
                    await step(None)
                    words.append(ctx.get(dut.read_data))
                payloads.append(words)
        for _ in range(4):
            await step(None)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return events, payloads


def _frame(words: list[int], kind: FrameType = FrameType.WRITE) -> bytes:
    return encode_frame(kind, 0, 0, words)


def test_arrives_one_clock_after_its_last_byte() -> None:
    frame = _frame([1, 2, 3])
    events, payloads = _run(list(frame))
    assert events == [(len(frame), "arrived")]
    assert payloads == [[1, 2, 3]]


def test_finds_the_next_command_after_damage_anywhere() -> None:
    rng = random.Random(3)
    for trial in range(12):
        first = bytearray(_frame([rng.getrandbits(32) for _ in range(4)]))
        at = rng.randrange(len(first))
        how = trial % 3
        if how == 0:
            first[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del first[at]
        else:
            first.insert(at, rng.randrange(256))
        second = [rng.getrandbits(32) for _ in range(130)]
        third = [rng.getrandbits(32), rng.getrandbits(32)]
        junk = bytes(rng.randrange(256) for _ in range(rng.randrange(9)))
        # A byte too few makes the receiver wait for it, so a pause ends what has been damaged.
        pause = [None] * 520
        events, payloads = _run(
            [*junk, *first, *pause, *_frame(second), *_frame(third, FrameType.READ)]
        )
        arrived = [w for w in payloads if w in (second, third)]
        assert arrived == [second, third]
        whole = len(payloads) == 3  # a byte put in front of the magic harms nothing
        assert whole or [what for _, what in events].count("bad") == (0 if at < 4 else 1)


def test_version_type_and_length_of_the_header_are_checked() -> None:
    other = encode_frame(FrameType.HEARTBEAT, 0, 0, [1, 2])
    short = _frame([1])
    long = _frame(list(range(131)))
    for frame in (other, short, long):
        events, payloads = _run(list(frame[:20]))
        assert (events, payloads) == ([(20, "bad")], [])


def test_a_pause_ends_a_frame() -> None:
    frame = list(_frame([5, 6]))
    events, payloads = _run([*frame[:23], *[None] * 502, *frame], timeout=500)
    assert [what for _, what in events] == ["bad", "arrived"]
    assert events[0][0] == 23 + 501
    assert payloads == [[5, 6]]


def test_while_busy_commands_are_dropped_and_the_payload_stays() -> None:
    one, two = _frame([1, 1]), _frame([2, 2])
    dut_events, payloads = _run([*one, *two], busy=lambda clock: clock > len(one))
    assert [what for _, what in dut_events] == ["arrived", "dropped"]
    assert payloads == [[1, 1]]
