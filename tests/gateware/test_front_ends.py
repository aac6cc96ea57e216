"""Front ends and the fine table."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.fine_lookup import FineLookup, linear_fine_table
from bellrelay_gateware.tap_front_end import TapFrontEnd

G = BoardGeometry(code_bits=5)


def test_taps_are_counted_whatever_their_order():
    rng = random.Random(1)
    n = 27
    dut = TapFrontEnd(G, n)
    sent = []
    got = []

    async def bench(ctx):
        level = 0
        for _ in range(200):
            # a pulse begins (seen from tap 0 on), lasts, or ends
            begins = not level and rng.random() < 0.5
            ones = rng.randint(1, n) if begins else (n if level and rng.random() < 0.5 else 0)
            middle = [1] * max(0, ones - 1) + [0] * (n - max(1, ones))
            if begins:
                rng.shuffle(middle)  # bubbles
            bits = [int(ones > 0), *middle][:n]
            sent.append((begins, n - ones if begins else None))
            level = ones
            ctx.set(dut.taps[0], sum(b << i for i, b in enumerate(bits)))
            await ctx.tick()
            got.append((ctx.get(dut.hits[0].hit), ctx.get(dut.hits[0].code)))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    late = dut.latency - 1
    assert sum(begins for begins, _ in sent) > 20
    for (begins, code), (hit, seen) in zip(sent, got[late:], strict=False):
        assert hit == begins
        assert code is None or seen == code


@pytest.mark.parametrize("n_taps", [1, 33])
def test_number_of_taps_is_checked(n_taps):
    with pytest.raises(ValueError, match="n_taps"):
        TapFrontEnd(G, n_taps)


def test_fine_table_is_linear_as_built_and_writable_per_channel():
    rng = random.Random(2)
    dut = FineLookup(G)
    tables = [linear_fine_table(G) for _ in range(G.n_channels)]
    assert tables[0][0] == 0
    assert tables[0][-1] == 31 * G.clock_period_ps // 32

    async def bench(ctx):
        ctx.set(dut.accept, 1)
        for _ in range(150):
            channel, code = rng.randrange(G.n_channels), rng.randrange(32)
            value = rng.randrange(G.clock_period_ps)
            if rng.random() < 0.5:
                tables[channel][code] = value
                ctx.set(dut.write, {"en": 1, "addr": channel << 5 | code, "data": value})
                await ctx.tick()
                ctx.set(dut.write.en, 0)
            codes = [rng.randrange(32) for _ in range(G.n_channels)]
            for k, c in enumerate(codes):
                ctx.set(dut.hits[k], {"hit": 1, "code": c})
            ctx.set(dut.read_addr, channel << 5 | code)
            await ctx.tick().repeat(FineLookup.LATENCY)
            for k, c in enumerate(codes):
                assert ctx.get(dut.tags[k].valid)
                assert ctx.get(dut.tags[k].fine) == tables[k][c]
            await ctx.tick().repeat(FineLookup.READ_LATENCY - FineLookup.LATENCY)
            assert ctx.get(dut.read_data) == tables[channel][code]
        ctx.set(dut.accept, 0)
        await ctx.tick().repeat(FineLookup.LATENCY)
        assert not ctx.get(dut.tags[0].valid)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_a_swap_loses_no_tag_and_mixes_no_tables():
    """A hit in every clock of every channel, while tables are written and swapped."""
    rng = random.Random(3)
    dut = FineLookup(G)
    channels, codes = range(G.n_channels), range(32)
    used = [linear_fine_table(G) for _ in channels]
    spare = [linear_fine_table(G) for _ in channels]
    expected, got, swaps = [], [], 0

    async def bench(ctx):
        nonlocal swaps
        ctx.set(dut.accept, 1)
        writes = []
        for clock in range(3000):
            if not writes:
                swap = [rng.random() < 0.5 for _ in channels] if clock else [False] * len(channels)
                writes = [(c, i, rng.randrange(G.clock_period_ps)) for c in channels for i in codes]
                rng.shuffle(writes)
            else:
                swap = [False] * len(channels)
            host = rng.random() < 0.1
            value = rng.randrange(G.clock_period_ps)
            where = rng.choice(channels), rng.choice(codes)
            ctx.set(dut.write, {"en": host, "addr": where[0] << 5 | where[1], "data": value})
            channel, code, time = writes[-1]
            ctx.set(dut.load, {"en": 1, "addr": channel << 5 | code, "data": time})
            ctx.set(dut.swap, sum(s << c for c, s in enumerate(swap)))
            hits = [rng.choice(codes) for _ in channels]
            for c in channels:
                ctx.set(dut.hits[c], {"hit": 1, "code": hits[c]})
            ready = ctx.get(dut.load_ready)
            assert ready == (not host)
            expected.append([used[c][hits[c]] for c in channels])
            await ctx.tick()
            if host:
                used[where[0]][where[1]] = value
            else:
                spare[channel][code] = time
                writes.pop()
            for c in channels:
                if swap[c]:
                    used[c], spare[c] = spare[c], used[c]
                    swaps += 1
            got.append([(ctx.get(t.valid), ctx.get(t.fine)) for t in dut.tags])

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert swaps > 20
    late = FineLookup.LATENCY - 1
    for want, have in zip(expected, got[late:], strict=False):
        assert have == [(1, time) for time in want]
