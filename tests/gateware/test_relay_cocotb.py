"""The whole relay under Verilator through cocotb, pin by pin, against the event board."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Heartbeat
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


def play(relay, monkeypatch, script, hits, name):
    """Bytes of the link after the script, with these (cell, channel, code) at the front end."""
    runner, folder = relay
    job = {
        "code_bits": GEOMETRY.code_bits,
        "clocks": script.clocks,
        "writes": list(script.writes),
        "hits": hits,
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
        results_xml=str(folder / f"{name}.xml"),
    )
    assert get_results(results) == (1, 0)
    return out.read_bytes()


@pytest.mark.parametrize(("seed", "load"), [(11, "saturated"), (12, "pairs")])
def test_every_byte_of_the_link(relay, monkeypatch, seed, load):
    case = random_acquisition(seed, GEOMETRY, load, ticks=3)
    # Off: its chunks alone would take most of the clocks, and have a bench of their own.
    registers = case.registers | {"hist_ticks": (0,)}
    script = acquisition_script(GEOMETRY, registers, case.t, case.channel, case.ticks)
    cell, f = divmod(case.t, GEOMETRY.clock_period_ps)
    code = fine_code(f, GEOMETRY)
    hits = list(zip(cell.tolist(), case.channel.tolist(), code.tolist(), strict=True))
    got = play(relay, monkeypatch, script, hits, seed)
    expected = run_script(EventBoard(GEOMETRY), script, script.clocks)
    assert len(got) > 5000
    assert describe_difference(got, expected, GEOMETRY, ("gateware", "event board")) == ""
    assert got == expected


def test_a_tag_per_channel_and_clock_is_sustained_into_the_gate(relay, monkeypatch):
    """Whatever the link can take of them: every one of them is gated, none is lost on the way."""
    ticks = 3
    # No deskew, no dead time, no stream: nothing that drops a tag on purpose.
    registers = {"hist_ticks": (0,), "stream_mask": (0,)}
    none = np.empty(0, np.int64), np.empty(0, np.uint8)
    script = acquisition_script(GEOMETRY, registers, *none, ticks)
    cells = (ticks + 2) * GEOMETRY.tick_clocks
    # Each channel at a place of its own in the clock: its tags are a whole clock apart.
    places = [(channel, 11 * channel) for channel in range(GEOMETRY.n_channels)]
    hits = [(cell, channel, code) for cell in range(cells) for channel, code in places]
    frames = FrameDecoder().feed(play(relay, monkeypatch, script, hits, "sustained"))
    beats = [Heartbeat.parse(f.payload, GEOMETRY) for f in frames if f.type == FrameType.HEARTBEAT]
    final = next(beat for beat in beats if beat.final).counters
    clicks = final["clicks_0"]
    assert clicks >= (ticks - 1) * GEOMETRY.tick_clocks
    for d in range(GEOMETRY.n_detectors):
        assert final[f"clicks_{d}"] == clicks
        for lost in ("pile_up", "dead_time", "before_start", "misaligned"):
            assert final[f"{lost}_{d}"] == 0
        assert final[f"early_{d}"] + final[f"late_{d}"] + final[f"outside_{d}"] == clicks
