"""Lines, encoder, calibrator and table together, on simulated lines, against the host's arithmetic.

Everything is scaled down (31 taps of 180 ps, 256 counts) so that it can be run clock by clock; the
figures for lines of full length are in tests/sim/test_fine_time_figures.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from bellrelay.tags.linearity import code_times_ps
from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.calibrated_timing import CalibratedTiming
from bellrelay_gateware.fine_lookup import FineLookup
from bellrelay_sim.tapped_line import ClockEdges, arrivals_to_codes, made_up_line, sample_line

PERIOD_PS = 5000
N_TAPS = 31
FINE_BITS = 5
SAMPLES_LOG2 = 8
PULSES_LOG2 = 6
SETTLE = 64
G = BoardGeometry(n_detectors=2, clock_period_ps=2 * PERIOD_PS, code_bits=FINE_BITS + 1)
CHANNELS = range(G.n_channels)
ENTRY_PS = (900, 2100, 1400)
CLOCKS = 30_000
EDGES = ClockEdges(PERIOD_PS, 10.0, seed=3)
LINES = [
    made_up_line(
        k, N_TAPS, mean_ps=180, odd_late_ps=390, mismatch_ps=40, tile_ps=80, entry_ps=ENTRY_PS[k]
    )
    for k in CHANNELS
]


def words(arrival_ps: list[np.ndarray]) -> list[list[int]]:
    """Per clock and channel the taps as one number."""
    edges = EDGES.at(np.arange(CLOCKS))
    columns = []
    for line, arrivals in zip(LINES, arrival_ps, strict=True):
        taps = sample_line(line, arrivals, edges, width_ps=15_000).astype(np.int64)
        columns.append(taps @ (1 << np.arange(N_TAPS)))
    return np.stack(columns, axis=1).tolist()


class Record:
    def __init__(self) -> None:
        self.tags: list[list[tuple[int, int]]] = [[] for _ in CHANNELS]
        self.blind: list[int] = []
        self.counts: list[list[int]] = []
        self.times: list[list[int]] = []
        self.tables: list[list[int]] = []
        self.skew: list[int] = []
        self.ended = 0
        self.status: dict[str, int] = {}
        self.dropped: list[int] = []


@pytest.fixture(scope="module")
def arrivals():
    rng = np.random.default_rng(8)
    end = CLOCKS * PERIOD_PS - 400_000
    pulses = np.cumsum(rng.uniform(48_000, 58_000, end // 48_000))
    pins = [np.cumsum(rng.uniform(30_000, 400_000, end // 30_000)) for _ in CHANNELS]
    return pulses[pulses < end], [pin[pin < end] for pin in pins]


@pytest.fixture(scope="module")
def record(arrivals):
    """One calibration, one measurement of skew, then tags, with pulses at the pins all along."""
    source, pins = arrivals
    source_words, pin_words = words([source] * G.n_channels), words(pins)
    record = Record()
    m = Module()
    m.submodules.timing = dut = CalibratedTiming(
        G,
        N_TAPS,
        samples_log2=SAMPLES_LOG2,
        pulses_log2=PULSES_LOG2,
        timeout_clocks=4096,
        settle_clocks=SETTLE,
        at_reset=False,
    )
    m.submodules.lookup = lookup = FineLookup(G)
    m.d.comb += [
        lookup.accept.eq(1),
        lookup.hits.eq(dut.hits),
        lookup.load.eq(dut.load),
        lookup.swap.eq(dut.swap),
        dut.load_ready.eq(lookup.load_ready),
    ]

    async def drive(ctx):
        for clock in range(CLOCKS):
            select = ctx.get(dut.select)
            for c in CHANNELS:
                rows = source_words if select >> c & 1 else pin_words
                ctx.set(dut.taps[c], rows[clock][c])
            await ctx.tick("tag")

    async def watch(ctx):
        for cell in range(CLOCKS // 2):
            await ctx.tick()
            record.blind.append(ctx.get(dut.blind))
            for c in CHANNELS:
                if ctx.get(lookup.tags[c].valid):
                    record.tags[c].append((cell, ctx.get(lookup.tags[c].fine)))

    async def control(ctx):
        async def command(strobe):
            ctx.set(strobe, 1)
            await ctx.tick()
            ctx.set(strobe, 0)
            await ctx.tick().repeat(2)
            await ctx.tick().until(~dut.status.busy)

        await ctx.tick().repeat(100)
        await command(dut.control.start)
        await command(dut.control.deskew)
        for c in CHANNELS:
            counts, times, table = [], [], []
            for code in range(2 << FINE_BITS):
                ctx.set(lookup.read_addr, c << (FINE_BITS + 1) | code)
                ctx.set(dut.read_addr, c << FINE_BITS | code % (1 << FINE_BITS))
                await ctx.tick().repeat(FineLookup.READ_LATENCY)
                table.append(ctx.get(lookup.read_data))
                counts.append(ctx.get(dut.read_count))
                times.append(ctx.get(dut.read_time))
            record.counts.append(counts[: 1 << FINE_BITS])
            record.times.append(times[: 1 << FINE_BITS])
            record.tables.append(table)
        record.skew = [ctx.get(s) for s in dut.status.skew_ps]
        for name in ("calibrated", "failed", "skew_valid", "skew_failed", "runs"):
            record.status[name] = ctx.get(dut.status[name])
        record.ended = len(record.blind)
        await ctx.tick().repeat(CLOCKS // 2 - record.ended - 10)
        record.dropped = [ctx.get(d) for d in dut.dropped]

    sim = Simulator(m)
    sim.add_clock(10e-9, phase=10e-9)
    sim.add_clock(5e-9, phase=5e-9, domain="tag")
    sim.add_testbench(drive, background=True)
    sim.add_testbench(watch, background=True)
    sim.add_testbench(control)
    sim.run()
    return record


def test_run_succeeds(record):
    all_channels = (1 << G.n_channels) - 1
    assert record.status == {
        "calibrated": all_channels,
        "failed": 0,
        "skew_valid": 1,
        "skew_failed": 0,
        "runs": 1,
    }
    assert record.ended < CLOCKS // 2 - 5000  # there are tags after it


def test_tables_are_the_hosts_arithmetic_on_the_counts(record):
    for c in CHANNELS:
        counts = np.array(record.counts[c])
        assert counts.sum() == 1 << SAMPLES_LOG2
        expected = code_times_ps(counts, PERIOD_PS)
        assert record.times[c] == expected.tolist()
        assert record.tables[c] == [*expected.tolist(), *(expected + PERIOD_PS).tolist()]


def test_counts_are_those_of_the_line(record, arrivals):
    """Each share is the code's true width within what counting allows."""
    for c in CHANNELS:
        _, code = arrivals_to_codes(
            LINES[c], np.random.default_rng(1).uniform(0, 1e9, 100_000), ClockEdges(PERIOD_PS)
        )
        share = np.bincount(code, minlength=1 << FINE_BITS) / 100_000
        counted = np.array(record.counts[c]) / (1 << SAMPLES_LOG2)
        assert np.abs(counted - share).max() < 5 * np.sqrt(share.max() / (1 << SAMPLES_LOG2))


def test_skew_is_that_of_the_lines(record):
    """Within what 256 counts allow: the error of a table's times is up to 160 ps RMS."""
    first = [line.delay_ps[0] for line in LINES]
    for c in CHANNELS:
        assert abs(record.skew[c] - (first[c] - first[0])) < 400
    assert abs(record.skew[1]) > 1000


def test_every_pin_click_outside_blind_times_is_one_tag_at_its_time(record, arrivals):
    """None lost at the swaps, none doubled, and after the calibration all at the right time."""
    pins = arrivals[1]
    for c in CHANNELS:
        clock, code = arrivals_to_codes(LINES[c], pins[c], EDGES)
        tags = record.tags[c]
        blind = np.array([b >> c & 1 for b in record.blind], bool)
        # clocks from the sample to the tag, from the tags after the last blind time
        free = int(np.flatnonzero(blind)[-1]) + 20
        tail = [t for t in tags if t[0] >= free]
        half_shift = 0
        for shift in (0, 1):  # which half of a cell the first sample is
            cells = (clock + shift) // 2
            if [t[0] - (tail[-1][0] - cells[-1]) for t in tail[-50:]] == cells[-50:].tolist():
                half_shift = shift
        cells = (clock + half_shift) // 2
        latency = tail[-1][0] - cells[-1]
        table = np.array(record.tables[c])
        fine = table[((clock + half_shift) % 2 << FINE_BITS) | code]
        expected = [
            (int(k + latency), int(f))
            for k, f in zip(cells, fine, strict=True)
            if k + latency >= free
        ]
        assert tail == expected
        # before: the same cells, whatever the table, wherever the channel was at its pin
        seen = {cell for cell, _ in tags}
        hit_cells = [int(k + latency) for k in cells]
        for cell in hit_cells:
            hit = cell - FineLookup.LATENCY
            switched = blind[max(0, hit - SETTLE) : hit + SETTLE + 1].all()
            assert (cell in seen) == (not switched)
        assert seen <= set(hit_cells)
        assert len(tags) == len(seen)
        assert len(seen) < len(hit_cells)
    assert record.dropped == [0] * G.n_channels


def test_times_after_calibration_are_as_good_as_the_bins(record, arrivals):
    for c in CHANNELS:
        tail = [(cell, fine) for cell, fine in record.tags[c] if cell > record.ended]
        told = np.array([cell * 2 * PERIOD_PS + fine for cell, fine in tail])
        true = arrivals[1][c][-len(told) :]
        error = told - true
        widest = np.max(record.counts[c]) / (1 << SAMPLES_LOG2) * PERIOD_PS
        assert len(told) > 100
        assert np.std(error) < 0.5 * widest
