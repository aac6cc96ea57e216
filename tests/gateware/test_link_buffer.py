"""The link buffer against the timing that its docstring promises, clock by clock."""

from __future__ import annotations

import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from bellrelay_gateware.link_buffer import LinkBuffer


@pytest.mark.parametrize("pace", [1, 3])
def test_every_byte_leaves_in_its_clock(pace: int) -> None:
    depth, clocks, rng = 16, 3000, random.Random(pace)
    dut = LinkBuffer(depth)
    fifo: deque[tuple[int, int]] = deque()  # clock of the push, word
    held: deque[int] = deque()
    most = 0

    async def bench(ctx):
        nonlocal most
        for clock in range(clocks):
            push = len(fifo) < depth and rng.random() < (0.9 if clock % 500 < 200 else 0.05)
            word = rng.getrandbits(32)
            ready = clock % pace == 0 and rng.random() < 0.95
            ctx.set(dut.push, push)
            ctx.set(dut.word, word)
            ctx.set(dut.link_out.ready, ready)
            assert ctx.get(dut.level) == len(fifo)
            assert ctx.get(dut.link_out.valid) == bool(held)
            if held:
                assert ctx.get(dut.link_out.payload) == held[0]
            if held and ready:
                held.popleft()
            if fifo and not held and fifo[0][0] <= clock - 5:
                held.extend(fifo.popleft()[1].to_bytes(4, "little"))
            if push:
                fifo.append((clock, word))
            most = max(most, len(fifo))
            await ctx.tick()
        assert not ctx.get(dut.overrun)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert most == depth


def test_a_push_into_a_full_buffer_is_ignored_and_told() -> None:
    dut = LinkBuffer(2)

    async def bench(ctx):
        ctx.set(dut.push, 1)
        for word in range(4):
            ctx.set(dut.word, word)
            await ctx.tick()
        assert ctx.get(dut.level) == 2
        await ctx.tick()
        assert ctx.get(dut.overrun)
        ctx.set(dut.push, 0)
        ctx.set(dut.link_out.ready, 1)
        out = []
        for _ in range(14):
            if ctx.get(dut.link_out.valid):
                out.append(ctx.get(dut.link_out.payload))
            await ctx.tick()
        assert out == [0, 0, 0, 0, 1, 0, 0, 0]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_depth_is_checked() -> None:
    with pytest.raises(ValueError, match="depth is 12"):
        LinkBuffer(12)
