"""From samples of delay lines to hits of cells: codes, halves, bubbles, the wrap."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.half_rate import HalfRate
from bellrelay_gateware.ones_counter import OnesCounter
from bellrelay_gateware.tap_timing import TapTiming
from bellrelay_sim.tapped_line import ClockEdges, arrivals_to_codes, made_up_line, sample_line

PERIOD_PS = 5000
CODE_BITS = 6
N_TAPS = 31
G = BoardGeometry(n_detectors=2, clock_period_ps=2 * PERIOD_PS, code_bits=CODE_BITS)


def two_clocks(dut) -> Simulator:
    """Every edge of `sync` is one of `tag`."""
    sim = Simulator(dut)
    sim.add_clock(10e-9, phase=10e-9)
    sim.add_clock(5e-9, phase=5e-9, domain="tag")
    return sim


def short_line(seed: int):
    """Few wide taps, with bubbles."""
    return made_up_line(
        seed, N_TAPS, mean_ps=180, odd_late_ps=390, mismatch_ps=40, tile_ps=80, entry_ps=900
    )


def run_timing(samples: np.ndarray) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Feed (clocks, channels, taps); hits as (channel, clock of `tag`, fine code), and drops."""
    dut = TapTiming(G, N_TAPS)
    words = (samples.astype(object) << np.arange(N_TAPS, dtype=object)).sum(axis=2)
    hits, drops = [], [0] * G.n_channels

    async def drive(ctx):
        for row in words:
            for channel, word in enumerate(row):
                ctx.set(dut.taps[channel], int(word))
            await ctx.tick("tag")

    async def watch(ctx):
        for cell in range(len(words) // 2):
            await ctx.tick()
            for channel in range(G.n_channels):
                hit = dut.hits[channel]
                if ctx.get(hit.hit):
                    code = ctx.get(hit.code)
                    clock = 2 * cell + (code >> (CODE_BITS - 1))
                    hits.append((channel, clock, code % (1 << (CODE_BITS - 1))))
            for channel, bit in enumerate(f"{ctx.get(dut.dropped):03b}"[::-1]):
                drops[channel] += int(bit)

    sim = two_clocks(dut)
    sim.add_testbench(drive, background=True)
    sim.add_testbench(watch)
    sim.run()
    return hits, drops


def sampled(arrivals: list[np.ndarray], clocks: int, edges: ClockEdges, width: float = 12_000):
    edge_ps = edges.at(np.arange(clocks))
    return np.stack(
        [
            sample_line(short_line(k), arrivals[k], edge_ps, width_ps=width)
            for k in range(G.n_channels)
        ],
        axis=1,
    )


def test_lines_have_bubbles():
    for k in range(G.n_channels):
        assert (np.diff(short_line(k).delay_ps) < 0).any()


def test_clock_and_code_are_those_of_the_sample():
    rng = np.random.default_rng(1)
    edges = ClockEdges(PERIOD_PS, 10.0, seed=1)
    arrivals = [np.cumsum(rng.uniform(35_000, 60_000, 60)) for _ in range(G.n_channels)]
    hits, drops = run_timing(sampled(arrivals, 800, edges))
    assert drops == [0] * G.n_channels
    for channel in range(G.n_channels):
        clock, code = arrivals_to_codes(short_line(channel), arrivals[channel], edges)
        got = [(c, f) for k, c, f in hits if k == channel]
        assert len(got) == 60
        latency = got[0][0] - clock[0]
        assert got == [(c + latency, f) for c, f in zip(clock, code, strict=True)]


def test_no_edge_is_ambiguous_across_clocks_and_cells():
    """An edge that moves by 37 ps at a time through two cells is told at times that only grow.

    The step of the told time from one code to the next stays below the widest bin, also where the
    clock, the half and the cell change.
    """
    steps, apart = 550, 8 * PERIOD_PS
    arrivals = 20_000 + np.arange(steps) * (apart + 37.0)
    clocks = int(arrivals[-1] // PERIOD_PS) + 20
    edges = ClockEdges(PERIOD_PS)
    hits, _ = run_timing(sampled([arrivals] * G.n_channels, clocks, edges))
    assert steps * 37 > 2 * 2 * PERIOD_PS  # two cells
    for channel in range(G.n_channels):
        line = short_line(channel)
        # the middle of each code, from the line's own delays: an exact calibration
        late = np.sort(line.delay_ps)
        passed = np.append(late, np.inf) - late[0]
        told = np.array(
            [
                c * PERIOD_PS - min(passed[N_TAPS - f - 1], PERIOD_PS)
                for k, c, f in hits
                if k == channel
            ]
        )
        assert len(told) == steps
        error = told - arrivals
        assert np.ptp(error) < np.diff(late).max() + 2 * 37
        assert (np.diff(told) > 0).all()


def test_dense_pulses_of_all_channels_lose_nothing():
    """One per three clocks, 6 ns high and 9 ns low, at every phase."""
    n_pulses = 300
    arrivals = 10_000 + np.arange(n_pulses) * (3.0 * PERIOD_PS + 17.0)
    clocks = int(arrivals[-1] // PERIOD_PS) + 30
    hits, drops = run_timing(
        sampled([arrivals] * G.n_channels, clocks, ClockEdges(PERIOD_PS), width=1.2 * PERIOD_PS)
    )
    assert drops == [0] * G.n_channels
    assert len(hits) == n_pulses * G.n_channels


def test_a_pulse_that_meets_the_one_before_in_the_line_is_dropped_and_told():
    first = 40_000 + np.arange(120) * 60_371.0
    clocks = 1480
    edge_ps = ClockEdges(PERIOD_PS).at(np.arange(clocks))
    line = short_line(0)
    width = 1.3 * PERIOD_PS
    second = first + width + np.linspace(1200, 9000, first.size)[::-1]
    both = np.sort(np.concatenate([first, second]))
    samples = sample_line(line, both, edge_ps, width_ps=width)
    taps = np.stack([samples] * G.n_channels, axis=1)
    hits, drops = run_timing(taps)
    clock, code = arrivals_to_codes(line, both, ClockEdges(PERIOD_PS))
    expected = dict(zip(clock.tolist(), code.tolist(), strict=True))
    got = [(c, f) for k, c, f in hits if k == 0]
    latency = got[0][0] - clock[0]
    for c, f in got:
        assert expected[c - latency] == f  # what is told is right
    assert 5 < drops[0] < 60
    seen = len(got) + drops[0]
    rises = int((samples[1:, 0] & ~samples[:-1, 0]).sum())
    assert seen == rises


def test_ones_counter_counts_with_its_latency():
    rng = random.Random(1)
    for n in (1, 4, 5, 27, 191):
        dut = OnesCounter(n)
        values = [rng.getrandbits(n) for _ in range(30)] + [(1 << n) - 1, 0]
        got = []

        async def bench(ctx, dut=dut, values=values, got=got):
            for value in values + [0] * dut.latency:
                ctx.set(dut.bits, value)
                await ctx.tick()
                got.append(ctx.get(dut.count))

        sim = Simulator(dut)
        sim.add_clock(1e-8)
        sim.add_testbench(bench)
        sim.run()
        after = dut.latency - 1
        assert got[after : after + len(values)] == [v.bit_count() for v in values]


def test_half_rate_keeps_the_earlier_and_tells_the_later():
    rng = random.Random(2)
    dut = HalfRate(G)
    cells = [
        [(rng.random() < 0.5, rng.randrange(1 << (CODE_BITS - 1))) for _ in range(2)]
        for _ in range(200)
    ]
    got = []

    async def drive(ctx):
        for cell in cells:
            for hit, code in cell:
                ctx.set(dut.fast[1], {"hit": hit, "code": code})
                await ctx.tick("tag")

    async def watch(ctx):
        for _ in cells:
            await ctx.tick()
            hit = dut.hits[1]
            got.append((ctx.get(hit.hit), ctx.get(hit.code), ctx.get(dut.second) >> 1 & 1))

    sim = two_clocks(dut)
    sim.add_testbench(drive, background=True)
    sim.add_testbench(watch)
    sim.run()
    # What the bench sets before an edge of `tag` is the clock that ends with it; cells are pairs
    # of those, the second ending with an edge of `sync`.
    expected = []
    for first, second in cells:
        if first[0]:
            expected.append((1, first[1], int(second[0])))
        else:
            expected.append((int(second[0]), 1 << (CODE_BITS - 1) | second[1], 0))
    shown = got[HalfRate.LATENCY - 1 :]
    # Before the first edge of `sync` nothing is known of halves.
    for want, have in zip(expected[1:], shown[1:], strict=False):
        assert (want[0], want[2]) == (have[0], have[2])
        assert not want[0] or want[1] == have[1]


@pytest.mark.parametrize("n_taps", [1, 32])
def test_taps_must_fit_the_code(n_taps):
    with pytest.raises(ValueError, match="n_taps"):
        TapTiming(G, n_taps)


def test_half_needs_a_bit():
    with pytest.raises(ValueError, match="code_bits"):
        HalfRate(BoardGeometry(code_bits=1))
