"""Fine time as a board takes it: what its constructor refuses, its sensor, its placement."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry

sys.path.insert(0, str(Path(__file__).parent))

from ecp5_bench import place

from bellrelay_gateware.calibration_source import CalibrationSource
from bellrelay_gateware.die_temperature import CELSIUS, TemperatureReader
from bellrelay_gateware.fine_time import FineTime
from bellrelay_gateware.tap_check import LinePlace, check_taps
from bellrelay_gateware.tapped_line import MIN_TAPS

G = BoardGeometry(n_detectors=4, clock_period_ps=10_000, code_bits=9)


def places(n_taps: int = 191) -> list[LinePlace]:
    return [LinePlace(n_taps, 20, 20 + 4 * k) for k in range(G.n_channels)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (places()[:4], "one length"),
        ([*places()[:4], LinePlace(193, 20, 60)], "one length"),
        ([*places()[:4], LinePlace(191, 43, 20)], "overlap"),
    ],
)
def test_places_are_checked(wrong, said):
    with pytest.raises(ValueError, match=said):
        FineTime(G, wrong)


def test_lines_are_named_for_the_check_of_their_placement():
    assert FineTime(G, places()).lines == {f"channel{k}": p for k, p in enumerate(places())}


def test_source_needs_a_channel():
    with pytest.raises(ValueError, match="n_channels"):
        CalibrationSource(0)


def test_sensor_is_started_and_read_when_it_is_done():
    """A sensor that answers 100 clocks after its start."""
    dut = TemperatureReader(interval_clocks=512)
    readings = [0, 63, 29, 30, 18]
    seen = []

    async def bench(ctx):
        since, index, before = 0, -1, 0
        for _ in range(512 * len(readings)):
            start = ctx.get(dut.start)
            if start and not before:
                if index >= 0:
                    seen.append(ctx.get(dut.mdegc))
                since, index = 0, index + 1
                ctx.set(dut.code, 0x3F)  # not valid
            since, before = since + 1, start
            if since == 100:
                ctx.set(dut.code, 0x80 | readings[index])
            await ctx.tick()
        seen.append(ctx.get(dut.mdegc))
        assert ctx.get(dut.valid)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert seen == [1000 * CELSIUS[code] for code in readings]
    assert seen == [-58_000, 132_000, 29_000, 40_000, 0]


def test_a_sensor_that_never_answers_gives_no_reading():
    dut = TemperatureReader(interval_clocks=256)

    async def bench(ctx):
        ctx.set(dut.code, 0x3F)
        await ctx.tick().repeat(1000)
        assert not ctx.get(dut.valid)
        assert ctx.get(dut.mdegc) == 0

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    with pytest.raises(ValueError, match="interval_clocks"):
        TemperatureReader(interval_clocks=255)


def design(fine_time: FineTime) -> str:
    """All of it, behind shift registers, so that nothing is left out and few pins are needed."""
    m = Module()
    tag, sync = ClockDomain("tag"), ClockDomain("sync")
    m.domains += tag, sync
    m.submodules.fine_time = fine_time
    pins = Signal(G.n_channels)
    calibration = Signal()
    shift_in = Signal()
    shift_out = Signal()
    ins = Cat(fine_time.control, fine_time.read_addr, fine_time.load_ready)
    outs = Cat(
        *(fine_time.hits, fine_time.blind, fine_time.dropped, fine_time.status),
        *(fine_time.load, fine_time.swap, fine_time.read_count, fine_time.read_time),
        fine_time.temperature,
    )
    row_in, row_out, count = Signal(len(ins)), Signal(len(outs)), Signal(10)
    held = Signal(len(outs))
    m.d.comb += [fine_time.pins.eq(pins), calibration.eq(fine_time.calibration), ins.eq(row_in)]
    m.d.sync += [
        row_in.eq(Cat(shift_in, row_in)),
        held.eq(outs),
        count.eq(count + 1),
        row_out.eq(Mux(count == 0, held, row_out >> 1)),
        shift_out.eq(row_out[0]),
    ]
    ports = [
        *(tag.clk, tag.rst, sync.clk, sync.rst),
        *(pins, calibration, shift_in, shift_out),
    ]
    return verilog.convert(m, name="top", ports=ports, emit_src=False)


@pytest.mark.soak
@pytest.mark.parametrize("grade", ["6", "8"])
def test_five_channels_are_placed_and_fast_enough(tmp_path, grade):
    fine_time = FineTime(G, places(MIN_TAPS[grade]))
    placed = place(design(fine_time), tmp_path, grade=grade)
    found = check_taps(placed.netlist, fine_time.lines)
    assert {line.taps for line in found.values()} == {MIN_TAPS[grade]}
    assert placed.fmax_mhz("tag_clk") >= 200
    assert placed.fmax_mhz("clk") >= 100
