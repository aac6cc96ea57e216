"""What the tools make of the datapath."""

from __future__ import annotations

import re
import subprocess

import pytest
from amaranth.back import verilog

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.datapath import RelayDatapath, aligned_latency
from bellrelay_sim.verilator_tool import verilator_command, verilator_environment

# Yosys writes these on purpose; anything else, latches and loops above all, is a fault.
EXPECTED = {
    "UNUSEDSIGNAL",
    "PROCASSINIT",
    "WIDTHEXPAND",
    "WIDTHTRUNC",
    "CASEINCOMPLETE",
    "DECLFILENAME",
    "ASCRANGE",
    "UNUSEDPARAM",
    "UNDRIVEN",
}


@pytest.mark.parametrize("n_detectors", [2, 4])
def test_verilog_lints(tmp_path, n_detectors):
    geometry = BoardGeometry(n_detectors=n_detectors)
    source = tmp_path / "relay_datapath.v"
    source.write_text(
        verilog.convert(RelayDatapath(geometry), name="relay_datapath", strip_internal_attrs=True)
    )
    run = subprocess.run(
        [*verilator_command(), "--lint-only", "-Wall", "-Wno-fatal",
         "--top-module", "relay_datapath", str(source)],
        env=verilator_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"%Warning-(\w+)", run.stderr)) <= EXPECTED


@pytest.mark.parametrize("period", [1000, 5000, 20000])
def test_latency_from_click_to_announcement(period):
    geometry = BoardGeometry(clock_period_ps=period, tick_clocks=8192)
    assert aligned_latency(geometry) + 2 <= 32  # at align_cells = 2
