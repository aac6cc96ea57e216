"""Floor division, and what is derived with it."""

from __future__ import annotations

import random

from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.derive import DERIVE_CLOCKS, Derive
from bellrelay_gateware.divider import Divider


def test_division_floors_in_a_fixed_time():
    rng = random.Random(1)
    dut = Divider(32, 24)
    cases = [(0, 1), (-1, 1), (-1, 7), (7, 7), (-7, 7), (2**32 - 1, 1), (-(2**32) + 1, 2**24 - 1)]
    cases += [
        (rng.randrange(-(2**32) + 1, 2**32) >> rng.randrange(32), rng.randrange(1, 2**24))
        for _ in range(100)
    ]

    async def bench(ctx):
        for numerator, divisor in cases:
            ctx.set(dut.numerator, numerator)
            ctx.set(dut.divisor, divisor)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            clocks = 1
            while not ctx.get(dut.done):
                await ctx.tick()
                clocks += 1
            assert clocks == dut.clocks
            assert divmod(numerator, divisor) == (ctx.get(dut.quotient), ctx.get(dut.remainder))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_largest_board_derives_in_time_although_ticks_end_meanwhile():
    g = BoardGeometry(align_depth=256)
    dut = Derive(g, 13)

    async def bench(ctx):
        config = dut.config
        ctx.set(config.slot_period_ps, 13333)
        ctx.set(config.align_cells, 9)
        ctx.set(config.dead_time_ps[3], 2**31 - 1)
        ctx.set(config.early_start, 700)
        ctx.set(config.early_end, 900)
        ctx.set(config.late_start, 500)
        ctx.set(config.late_end, 600)
        ctx.set(config.deskew_ps[4], -12345)
        ctx.set(config.gate_delay_ps[1], 2**24 - 1)
        ctx.set(dut.derive, 1)
        ended = 0
        for clock in range(DERIVE_CLOCKS):
            ctx.set(dut.tick_last, clock == 490)
            await ctx.tick()
            ctx.set(dut.derive, 0)
            ended = clock if clock == 490 else ended
            if ctx.get(dut.derived):
                break
        assert ctx.get(dut.derived)
        assert clock > 490 + g.align_depth  # the tick's end has left the ring
        o = dut.o
        assert (ctx.get(o.clock_q), ctx.get(o.clock_r)) == divmod(5000, 13333)
        blind = ctx.get(o.blind[3].slots), ctx.get(o.blind[3].rest)
        assert blind == divmod(2**31 - 1 - 500, 13333)
        assert (ctx.get(o.blind[0].slots), ctx.get(o.blind[0].rest)) == divmod(-500, 13333)
        skew = ctx.get(o.deskew[4].cells), ctx.get(o.deskew[4].rest)
        assert skew == divmod(-12345, 5000)
        assert ctx.get(o.gate_phase[1]) == ((9 + 13) * 5000 - (2**24 - 1)) % 13333
        assert ctx.get(o.align_cells) == 9

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
