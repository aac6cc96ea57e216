"""Counts of codes, the table that follows, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from bellrelay.tags.linearity import code_times_ps
from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.code_density import CodeDensity

G = BoardGeometry(n_detectors=2, clock_period_ps=10_000, code_bits=9)
FINE_BITS = 8


def run(codes, *, channel=1, samples_log2=9, timeout_clocks=200, hit_every=5):
    """One run on these codes; failed, loads, counts and times as read back."""
    dut = CodeDensity(G, samples_log2=samples_log2, timeout_clocks=timeout_clocks)
    rng = random.Random(5)
    loads, ends = [], []

    async def bench(ctx):
        ctx.set(dut.channel, channel)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        left = list(codes)
        clock = 0
        while not ends:
            clock += 1
            hit = clock > 300 and clock % hit_every == 0 and bool(left)
            ctx.set(dut.hit, hit)
            if hit:
                ctx.set(dut.code, left.pop(0) | rng.randrange(2) << FINE_BITS)
            ctx.set(dut.load_ready, rng.random() < 0.7)
            if ctx.get(dut.load.en) and ctx.get(dut.load_ready):
                loads.append((ctx.get(dut.load.addr), ctx.get(dut.load.data)))
            if ctx.get(dut.done):
                ends.append(ctx.get(dut.failed))
            await ctx.tick()
        counts, times = [], []
        for code in range(1 << FINE_BITS):
            ctx.set(dut.read_addr, channel << FINE_BITS | code)
            await ctx.tick().repeat(dut.READ_LATENCY)
            counts.append(ctx.get(dut.read_count))
            times.append(ctx.get(dut.read_time))
        return_.append((ends[0], loads, np.array(counts), times))

    return_: list = []
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return return_[0]


def uneven_codes(n: int) -> list[int]:
    """Codes 37 to 190, some of no width, some wide."""
    rng = np.random.default_rng(3)
    weight = rng.exponential(1.0, 154) * (rng.random(154) > 0.1)
    return [int(c) for c in rng.choice(154, n, p=weight / weight.sum()) + 37]


def test_table_is_the_hosts_arithmetic_to_the_picosecond():
    codes = uneven_codes(512)
    failed, loads, counts, times = run(codes)
    assert not failed
    assert (counts == np.bincount(codes, minlength=256)).all()
    expected = code_times_ps(counts, 5000)
    assert (times == expected).all()
    assert dict(loads) == {
        1 << 9 | half << 8 | code: half * 5000 + int(expected[code])
        for code in range(256)
        for half in range(2)
    }
    assert len(loads) == 512
    assert expected[0] == 0
    assert expected[255] == 4999


def test_hits_that_come_too_fast_are_passed_over():
    codes = uneven_codes(1100)
    failed, _, counts, _ = run(codes, hit_every=2)
    assert not failed
    assert (counts == np.bincount(codes[:1024:2], minlength=256)).all()


def test_without_pulses_the_run_fails_and_writes_nothing():
    failed, loads, counts, _ = run(uneven_codes(100))
    assert failed
    assert loads == []
    assert counts.sum() == 100


def test_a_source_that_follows_the_clock_fails():
    """An eighth of all counts may fall on one code, not one more."""
    even = [c for c in range(40, 190) for _ in range(3)][:448]
    assert not run(even + [7] * 64)[0]
    failed, loads, _, _ = run(even[:447] + [7] * 65)
    assert failed
    assert loads == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples_log2": 5}, "samples_log2"),
        ({"timeout_clocks": 3}, "timeout_clocks"),
        ({"geometry": BoardGeometry(clock_period_ps=5001)}, "clock_period_ps"),
        ({"geometry": BoardGeometry(code_bits=3)}, "code_bits"),
    ],
)
def test_parameters_are_checked(change, said):
    with pytest.raises(ValueError, match=said):
        CodeDensity(**({"geometry": G} | change))
