"""The histogram in block memory against counts in a dictionary."""

from __future__ import annotations

import random
from collections import Counter

from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.histogram import Histogram

G = BoardGeometry(
    n_detectors=2,
    tick_clocks=2048,
    capture_depth=8,
    announce_depth=8,
    announce_depth_short=8,
    hist_bins=16,
    hist_chunk=16,
)
TICK = 40  # the component does not know how long a tick is
CHUNKS = G.n_channels * G.hist_bins // G.hist_chunk


def test_periods_are_counted_sent_and_cleared() -> None:
    dut, rng = Histogram(G), random.Random(5)
    hist_ticks, skip = CHUNKS + 1, 5
    ticks, final = 21, 20  # the last period is cut short, and one is still being sent then
    expected: list[tuple[int, int, int, Counter[tuple[int, int]]]] = []
    got: dict[tuple[int, int], list[int]] = {}
    spans: dict[int, tuple[int, int]] = {}
    skipped: list[tuple[int, int]] = []

    async def bench(ctx):
        ctx.set(dut.hist_ticks, hist_ticks)
        counts: Counter[tuple[int, int]] = Counter()
        begin = 0
        await ctx.tick()
        for tick in range(ticks + 2 * CHUNKS + 2):
            active = tick <= final
            for clock in range(TICK):
                last = clock == TICK - 1
                for c in range(G.n_channels):
                    # Few bins: hits of one bin in clocks on end are the hard case.
                    valid, place = active and rng.random() < 0.8, rng.choice([0, 3, 3, 15])
                    ctx.set(dut.hist[c].valid, valid)
                    ctx.set(dut.hist[c].bin, place)
                    counts[c, place] += valid
                ctx.set(dut.cut, active and last)
                ctx.set(dut.first, tick == 0)
                ctx.set(dut.final, tick == final)
                ctx.set(dut.cut_tick, tick + 1)
                if clock == 3:
                    due = ctx.get(dut.due)
                    ctx.set(dut.decide, 1)
                    chunk = (ctx.get(dut.chunk.period), ctx.get(dut.chunk.channel))
                    span = (ctx.get(dut.chunk.start_tick), ctx.get(dut.chunk.end_tick))
                elif clock == 4:
                    ctx.set(dut.decide, 0)
                    if due:
                        got[chunk] = []
                        spans[chunk[0]] = span
                        if len(got) == skip:
                            skipped.append(chunk)
                            ctx.set(dut.skipped, 1)
                elif clock == 5:
                    ctx.set(dut.skipped, 0)
                if clock >= 5 and due:
                    if chunk not in skipped and clock - 5 <= G.hist_bins + 1:
                        if clock > 6:
                            got[chunk].append(ctx.get(dut.read_data))
                        ctx.set(dut.read, clock - 5 < G.hist_bins)
                        ctx.set(dut.read_bin, (clock - 5) % G.hist_bins)
                        ctx.set(dut.sent, clock - 5 == G.hist_bins + 1)
                    else:
                        ctx.set(dut.sent, 0)
                await ctx.tick()
            if active and ((tick + 1 - begin) == hist_ticks or tick == final):
                expected.append((len(expected), begin, tick + 1, counts))
                counts, begin = Counter(), tick + 1
        assert ctx.get(dut.idle)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(expected) == 6
    assert len(skipped) == 1
    for period, begin, end, counts in expected:
        assert spans[period] == (begin, end)
        for c in range(G.n_channels):
            if (period, c) not in skipped:
                assert got[period, c] == [counts[c, b] for b in range(G.hist_bins)]
