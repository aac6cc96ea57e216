"""Skew between channels, against the same sum in Python."""

from __future__ import annotations

import random

from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.skew import SkewMeter

G = BoardGeometry(n_detectors=2, clock_period_ps=10_000, code_bits=6)
FINE_BITS = 5


def run(pulses, table, *, pulses_log2, timeout_clocks=300):
    """Pulses as {channel: (cell, code)} 40 cells apart; failed, skews, and pulses fed."""
    dut = SkewMeter(G, pulses_log2=pulses_log2, timeout_clocks=timeout_clocks)
    hits = {}
    for i, pulse in enumerate(pulses):
        for channel, (cell, code) in pulse.items():
            hits.setdefault(40 * i + cell, {})[channel] = code
    result = []

    async def look(ctx):
        answer = 0
        async for _, _, addr in ctx.tick().sample(dut.look_addr):
            ctx.set(dut.look_time, answer)
            channel, code = addr >> FINE_BITS, addr % (1 << FINE_BITS)
            answer = table[channel][code] if channel < G.n_channels else 0

    async def bench(ctx):
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick()
        for clock in range(40 * len(pulses) + timeout_clocks + 10):
            now = hits.get(clock, {})
            for c in range(G.n_channels):
                ctx.set(dut.hits[c], {"hit": c in now, "code": now.get(c, 0)})
            if ctx.get(dut.done):
                result.append(ctx.get(dut.failed))
                await ctx.tick()
                result.append([ctx.get(s) for s in dut.skew_ps])
                return
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_process(look)
    sim.add_testbench(bench)
    sim.run()
    return result


def time(table, channel, hit):
    cell, code = hit
    return cell * 10_000 + (code >> FINE_BITS) * 5000 + table[channel][code % (1 << FINE_BITS)]


def make(n):
    rng = random.Random(4)
    table = [sorted(rng.randrange(5000) for _ in range(32)) for _ in range(G.n_channels)]
    pulses = [
        {
            c: (rng.randrange(3) if c else rng.randrange(2), rng.randrange(64))
            for c in range(G.n_channels)
        }
        for _ in range(n)
    ]
    for pulse in pulses:  # the first hit opens the window
        earliest = min(cell for cell, _ in pulse.values())
        for c in pulse:
            pulse[c] = pulse[c][0] - earliest, pulse[c][1]
    return table, pulses


def test_skew_is_the_rounded_mean_difference_to_channel_0():
    table, pulses = make(16)
    failed, skew = run(pulses, table, pulses_log2=4)
    assert not failed
    for c in range(G.n_channels):
        total = sum(time(table, c, p[c]) - time(table, 0, p[0]) for p in pulses)
        assert skew[c] == (total + 8) // 16
    assert skew[0] == 0
    assert skew[1] != 0


def test_pulses_that_a_channel_misses_are_passed_over():
    table, pulses = make(16)
    broken = [{c: hit for c, hit in p.items() if c != 2} for p in pulses[:3]]
    late = {0: (0, 5), 1: (0, 5), 2: (3, 5)}
    failed, skew = run([*broken, late, *pulses], table, pulses_log2=4)
    assert not failed
    for c in range(G.n_channels):
        total = sum(time(table, c, p[c]) - time(table, 0, p[0]) for p in pulses)
        assert skew[c] == (total + 8) // 16


def test_too_few_pulses_fail():
    table, pulses = make(15)
    assert run(pulses, table, pulses_log2=4) == [1, [0, 0, 0]]
