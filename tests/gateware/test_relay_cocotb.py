"""The whole relay under Verilator through cocotb, pin by pin, against the event board."""

import os
import pickle
from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.emit import relay_verilog
from bellrelay_sim.board import fine_code
from bellrelay_sim.board_script import acquisition_script, run_script
from bellrelay_sim.compare import describe_difference
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.random_acquisition import random_acquisition

GEOMETRY = BoardGeometry(
    n_detectors=4,
    tick_clocks=2048,
    code_bits=6,
    capture_depth=32,
    announce_depth=64,
    announce_depth_short=16,
    link_words=4096,
    hist_bins=64,
    hist_chunk=64,
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory, verilator_on_path):
    folder = tmp_path_factory.mktemp("relay")
    source = folder / "relay.v"
    source.write_text(relay_verilog(GEOMETRY))
    runner = get_runner("verilator")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAKEFLAGS", os.environ.get("MAKEFLAGS", "--") + " OPT_FAST=-O1 OPT_SLOW=-O0")
        runner.build(
            sources=[source],
            hdl_toplevel="relay",
            build_dir=folder,
            always=True,
            build_args=["-Wno-fatal", "-Wno-WIDTH", "-O3"],
        )
    return runner, folder


@pytest.mark.parametrize(("seed", "load"), [(11, "saturated"), (12, "pairs")])
def test_every_byte_of_the_link(relay, monkeypatch, seed, load):
    runner, folder = relay
    case = random_acquisition(seed, GEOMETRY, load, ticks=3)
    # Off: its chunks alone would take most of the clocks, and have a bench of their own.
    registers = case.registers | {"hist_ticks": (0,)}
    script = acquisition_script(GEOMETRY, registers, case.t, case.channel, case.ticks)
    cell, f = divmod(case.t, GEOMETRY.clock_period_ps)
    code = fine_code(f, GEOMETRY)
    job = {
        "code_bits": GEOMETRY.code_bits,
        "clocks": script.clocks,
        "writes": list(script.writes),
        "hits": list(zip(cell.tolist(), case.channel.tolist(), code.tolist(), strict=True)),
    }
    (folder / "job").write_bytes(pickle.dumps(job))
    out = folder / "out"
    out.unlink(missing_ok=True)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("RELAY_JOB", str(folder / "job"))
    monkeypatch.setenv("RELAY_OUT", str(out))
    results = runner.test(
        hdl_toplevel="relay",
        test_module="relay_cocotb_bench",
        build_dir=folder,
        test_dir=folder,
        results_xml=str(folder / f"{seed}.xml"),
    )
    assert get_results(results) == (1, 0)
    expected = run_script(EventBoard(GEOMETRY), script, script.clocks)
    got = out.read_bytes()
    assert len(got) > 5000
    assert describe_difference(got, expected, GEOMETRY, ("gateware", "event board")) == ""
    assert got == expected
