"""Pile-up and dead time, one channel at a time."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.dead_time import DeadTime
from bellrelay_gateware.pile_up import PileUp

G = BoardGeometry(clock_period_ps=1000)
P = 1000


def _run(dut, drive, read, tags):
    seen = []

    async def bench(ctx):
        late = dut.LATENCY - 1
        for c, fine in enumerate([*tags, *[None] * late]):
            ctx.set(dut.restart, c == 0)
            ctx.set(dut.i, {"valid": fine is not None, "fine": fine or 0})
            drive(ctx)
            await ctx.tick()
            if c >= late:
                seen.append(read(ctx))

    sim = Simulator(dut)
    sim.add_clock(1e-9)
    sim.add_testbench(bench)
    sim.run()
    return seen


def _tags(rng, rate, clocks=600):
    fines = (0, 1, 499, 500, 999)
    return [rng.choice(fines) if rng.random() < rate else None for _ in range(clocks)]


@pytest.mark.parametrize("rate", [0.2, 0.7, 1.0])
def test_pile_up_drops_what_comes_within_a_clock_period(rate):
    tags = _tags(random.Random(3), rate)
    dut = PileUp(G)
    seen = _run(
        dut, lambda ctx: None, lambda ctx: (ctx.get(dut.o.valid), ctx.get(dut.dropped)), tags
    )
    last = None
    for c, (fine, out) in enumerate(zip(tags, seen, strict=True)):
        if fine is None:
            assert out == (0, 0)
            continue
        close = last is not None and c * P + fine - last < P
        assert out == (not close, close)
        if not close:
            last = c * P + fine
    assert any(dropped for _, dropped in seen)


@pytest.mark.parametrize("extend", [0, 1])
@pytest.mark.parametrize("dead_time", [0, 1, 1000, 4500, 2**31 - 1])
def test_dead_time_marks_and_counts(extend, dead_time):
    tags = _tags(random.Random(dead_time + extend), 0.15)
    dut = DeadTime(G)

    def drive(ctx):
        ctx.set(dut.active, 1)
        ctx.set(dut.dead_time, dead_time)
        ctx.set(dut.extend, extend)

    seen = _run(
        dut,
        drive,
        lambda ctx: (ctx.get(dut.o.valid), ctx.get(dut.o.suppressed), ctx.get(dut.dead)),
        tags,
    )
    starts: list[int] = []
    for c, (fine, (valid, suppressed, dead)) in enumerate(zip(tags, seen, strict=True)):
        assert dead == any(t < c * P < t + dead_time for t in starts)
        assert valid == (fine is not None)
        if fine is None:
            continue
        t = c * P + fine
        late = starts and t - starts[-1] < dead_time
        assert suppressed == bool(late)
        if extend or not late:
            starts.append(t)
