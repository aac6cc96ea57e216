"""The build: what the tools are told, and every gate, with tools that leave canned results."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bellrelay_boards.build as build_module
from bellrelay.control.firmware_image import BUILD_RECORD, read_image
from bellrelay_boards.build import STAGES, build_board
from bellrelay_boards.build_report import BuildReport
from bellrelay_boards.catalogue import find_board
from bellrelay_boards.pll import HEADROOM
from bellrelay_boards.toolchain import ToolFailed, ToolMissing
from bellrelay_boards.top import BoardTop, prepared_platform
from bellrelay_gateware.relay import VERSION

BOARD = find_board("ulx3s-85f")
SCRIPT = """#!/bin/sh
"$YOSYS" -q top.ys
"$NEXTPNR_ECP5" --seed 1 --json top.json
"$ECPPACK" --input top.config --bit top.bit
"""
FMAX = {
    "$glbnet$clocks.pll.clk_tag": {"achieved": 231.0, "constraint": 200.0},
    "$glbnet$clocks.pll.clk_sync": {"achieved": 104.0, "constraint": 100.0},
    "$glbnet$clk25_0__io": {"achieved": 150.0, "constraint": 25.0},
}


def placed_netlist() -> dict[str, Any]:
    """What place and route leaves of the board's delay lines."""
    cells: dict[str, Any] = {}
    net = iter(range(10, 100_000))

    def cell(name: str, kind: str, bel: str, ports: dict[str, tuple[str, int]], **extra: Any):
        cells[name] = {
            "type": kind,
            "parameters": extra.pop("parameters", {}),
            "attributes": {"NEXTPNR_BEL": bel, **extra},
            "port_directions": {port: way for port, (way, _) in ports.items()},
            "connections": {port: [bit] for port, (_, bit) in ports.items()},
        }

    for channel, place in enumerate(BOARD.lines):
        name, pulse = f"channel{channel}", next(net)
        cell(f"{name}.pad", "TRELLIS_IO", "pad", {"O": ("output", pulse)})
        carry = next(net)
        ccu2 = {"MODE": "CCU2"}
        cell(
            f"{name}.launch", "TRELLIS_COMB", place.carry(0),
            {"A": ("input", pulse), "FCO": ("output", carry)}, parameters=ccu2,
        )  # fmt: skip
        for tap in range(place.n_taps):
            out, f = next(net), next(net)
            cell(
                f"{name}.carry{tap}", "TRELLIS_COMB", place.carry(tap + 1),
                {"FCI": ("input", carry), "FCO": ("output", out), "F": ("output", f)},
                parameters=ccu2,
            )  # fmt: skip
            cell(
                f"{name}.tap{tap}", "TRELLIS_FF", place.flip_flop(tap),
                {"DI": ("input", f), "Q": ("output", next(net))}, BELLRELAY_TAP=f"{name}/{tap}",
            )  # fmt: skip
            carry = out
    return {"modules": {"top": {"attributes": {"top": "1"}, "cells": cells}}}


class Tools:
    """Yosys, nextpnr and ecppack as programs that copy what a test has put down for them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.synthesised: dict[str, Any] = {"modules": {"top": {"cells": {}}}}
        self.placed = placed_netlist()
        self.report: dict[str, Any] = {
            "fmax": json.loads(json.dumps(FMAX)),
            "utilization": {"TRELLIS_FF": {"used": 10, "available": 100}},
        }
        self.exit_codes = {"yosys": 0, "nextpnr-ecp5": 0, "ecppack": 0}
        for tool, variable in (
            ("yosys", "YOSYS"),
            ("nextpnr-ecp5", "NEXTPNR_ECP5"),
            ("ecppack", "ECPPACK"),
        ):
            program = folder / tool
            program.write_text(
                f"#!{sys.executable}\n"
                "import json, pathlib, sys\n"
                f"canned = json.loads(pathlib.Path({str(folder / 'canned.json')!r}).read_text())\n"
                f"files, code = canned[{tool!r}]\n"
                "print('arguments', *sys.argv[1:])\n"
                "for name, content in files.items(): pathlib.Path(name).write_text(content)\n"
                "if code: print('ERROR: canned fault')\n"
                "sys.exit(code)\n"
            )
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            monkeypatch.setenv(variable, str(program))
        plan = SimpleNamespace(files={"build_top.sh": SCRIPT, "top.ys": b"synth"})
        platform = SimpleNamespace(
            device="LFE5U-85F", package="BG381", speed="6", prepare=lambda *_, **__: plan
        )
        monkeypatch.setattr(build_module, "prepared_platform", lambda _board: platform)

    def build(self, stages: list[str] | None = None) -> BuildReport:
        files = {
            "yosys": {"top.json": json.dumps(self.synthesised)},
            "nextpnr-ecp5": {
                "placed.json": json.dumps(self.placed),
                "report.json": json.dumps(self.report),
            },
            "ecppack": {"top.bit": "bits"},
        }
        canned = {tool: (files[tool], code) for tool, code in self.exit_codes.items()}
        (self.folder / "canned.json").write_text(json.dumps(canned))
        progress = stages.append if stages is not None else lambda _stage: None
        return build_board(BOARD, self.folder / "out", progress=progress)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path, monkeypatch)


def test_a_build_that_holds_ends_with_a_bitstream(tools: Tools) -> None:
    stages: list[str] = []
    report = tools.build(stages)
    assert report.faults == ()
    assert tuple(stages) == STAGES == tuple(report.seconds)
    assert Path(report.bitstream).read_text() == "bits"
    assert [clock.constraint_mhz for clock in report.clocks] == [200.0, 100.0, 25.0]
    assert report.clocks[0].margin_percent == pytest.approx(15.5)
    assert {line.name for line in report.lines} == {f"channel{c}" for c in range(5)}
    assert all(line.taps == BOARD.lines[0].n_taps for line in report.lines)
    assert "--seed 1" in (tools.folder / "out/nextpnr.log").read_text()
    page = report.markdown()
    assert "| clocks.pll.clk_tag | 200.0 | 231.0 | +15.5 % |" in page
    assert "| flip-flops | 10 | 100 | 10.0 % |" in page
    assert report.as_json()["passed"]


def test_what_a_build_leaves_is_an_image_that_can_be_brought_onto_its_board(tools: Tools) -> None:
    record = tools.build().as_json()
    (tools.folder / "out" / BUILD_RECORD).write_text(json.dumps(record))
    image = read_image(tools.folder / "out")
    assert image.geometry == BOARD.geometry
    assert image.gateware_version == ".".join(map(str, VERSION))
    assert image.delay_lines


def test_a_clock_that_is_not_met_fails(tools: Tools) -> None:
    tools.report["fmax"]["$glbnet$clocks.pll.clk_sync"]["achieved"] = 99.2
    (tools.folder / "out").mkdir()
    (tools.folder / "out/top.bit").write_text("of an earlier build")
    report = tools.build()
    assert "clock clocks.pll.clk_sync: 99.2 MHz placed, 100.0 needed" in report.faults
    assert not report.bitstream
    assert not (tools.folder / "out/top.bit").exists()


def test_a_clock_is_held_against_what_it_needs_not_against_what_was_asked(tools: Tools) -> None:
    sync = tools.report["fmax"]["$glbnet$clocks.pll.clk_sync"]
    sync |= {"constraint": 100.0 * HEADROOM, "achieved": 100.4}
    report = tools.build()
    assert report.faults == ()
    assert [clock.constraint_mhz for clock in report.clocks] == [200.0, 100.0, 25.0]


@pytest.mark.parametrize("constraint", [None, 12.0])
def test_a_clock_that_was_not_constrained_fails(tools: Tools, constraint: float | None) -> None:
    if constraint is None:
        del tools.report["fmax"]["$glbnet$clocks.pll.clk_tag"]
    else:
        tools.report["fmax"]["$glbnet$clocks.pll.clk_tag"]["constraint"] = constraint
    assert tools.build().faults == ("no clock was constrained to 200 MHz",)


@pytest.mark.parametrize(
    ("start", "end", "delays", "faults"),
    [
        ("clk_tag", "clk_sync", [0.5, 4.4], ()),
        (
            "clk_sync",
            "clk_tag",
            [0.5, 4.4, 0.2],
            ("from clocks.pll.clk_sync to clocks.pll.clk_tag: 5.1 ns placed, 5.0 allowed",),
        ),
        # Within one clock, its speed says it all.
        ("clk_sync", "clk_sync", [9.0], ()),
    ],
)
def test_a_path_between_clocks_of_the_loop_has_one_period_of_the_faster(
    tools: Tools, start: str, end: str, delays: list[float], faults: tuple[str, ...]
) -> None:
    def edge(clock: str) -> str:
        return f"posedge $glbnet$clocks.pll.{clock}"

    tools.report["critical_paths"] = [
        {"from": "<async>", "to": edge("clk_tag"), "path": [{"delay": 20.0}]},
        {"from": edge(start), "to": edge(end), "path": [{"delay": d} for d in delays]},
    ]
    assert tools.build().faults == faults


@pytest.mark.parametrize("kind", ["$_DLATCH_P_", "TRELLIS_LATCH"])
def test_a_latch_fails(tools: Tools, kind: str) -> None:
    tools.synthesised["modules"]["top"]["cells"]["l"] = {"type": kind, "parameters": {}}
    assert tools.build().faults == ("latch top/l",)


def test_a_flip_flop_in_latch_mode_fails(tools: Tools) -> None:
    cell = {"type": "TRELLIS_FF", "parameters": {"REGMODE": "LATCH"}}
    tools.synthesised["modules"]["top"]["cells"]["l"] = cell
    assert tools.build().faults == ("latch top/l",)


def test_a_tap_that_is_gone_or_elsewhere_fails(tools: Tools) -> None:
    cells = tools.placed["modules"]["top"]["cells"]
    del cells["channel2.tap7"]
    cells["channel3.tap0"]["attributes"]["NEXTPNR_BEL"] = "X1/Y1/SLICEA.FF0"
    faults = " ".join(tools.build().faults)
    assert "tap channel2/7 is there 0 times" in faults
    assert "tap channel3/0 lies at X1/Y1/SLICEA.FF0" in faults


def test_a_tool_that_fails_without_a_result_is_an_error(tools: Tools) -> None:
    tools.exit_codes["yosys"] = 3
    with pytest.raises(ToolFailed, match="yosys ended with exit code 3: ERROR: canned fault"):
        tools.build()


def test_a_tool_that_is_not_there_names_the_extra(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(ToolMissing, match=r"pip install 'bellrelay\[boards\]'"):
        tools.build()


def test_a_board_is_elaborated_with_its_pins_and_clocks() -> None:
    top = BoardTop(BOARD, git_revision=0x1234)
    plan = prepared_platform(BOARD).prepare(top, name="top")
    constraints = plan.files["top.lpf"]
    constraints = constraints if isinstance(constraints, str) else constraints.decode()
    for net, mhz in (("clk_tag", 214), ("clk_sync", 107)):
        assert f'FREQUENCY NET "clocks.pll.{net}" {mhz}000000.0 HZ' in constraints
    assert 'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ' in constraints
    for port, ball in (("inputs__io[0]", "A2"), ("inputs__io[4]", "H4"), ("gates__io[3]", "B15")):
        assert f'LOCATE COMP "bellrelay_0__{port}" SITE "{ball}"' in constraints
    assert top.clocks_mhz == (200.0, 100.0)
    netlist = plan.files["top.il"]
    text = netlist if isinstance(netlist, str) else netlist.decode()
    assert text.count("cell \\TRELLIS_COMB") >= sum(line.n_taps for line in BOARD.lines)
