"""The relay with memories that answer anything for an address that is being written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from amaranth.back import rtlil, verilog
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib.memory import Memory

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.memory_collisions import ATTRIBUTE, free_collisions
from bellrelay_sim.board_script import acquisition_script
from bellrelay_sim.compare import compare_boards
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.gateware_board import GatewareBoard
from bellrelay_sim.random_acquisition import random_acquisition

G = BoardGeometry(
    n_detectors=2,
    tick_clocks=2048,
    code_bits=6,
    capture_depth=32,
    announce_depth=64,
    announce_depth_short=16,
    link_words=4096,
    hist_bins=64,
    hist_chunk=32,
    align_depth=16,
)
TICKS = 4


class Pair(Elaboratable):
    """Two memories, one that says what it wrote before, and one that nobody asks."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.data = Signal(16)
        for i, attrs in enumerate(({}, {ATTRIBUTE: 1})):
            m.submodules[f"memory_{i}"] = memory = Memory(shape=8, depth=4, init=[], attrs=attrs)
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.en.eq(1), write.data.eq(self.data[8:])]
            m.d.comb += self.data[8 * i : 8 * i + 8].eq(read.data)
        return m


def test_only_marked_memories_are_freed() -> None:
    before = rtlil.convert(Pair(), ports=())
    after = free_collisions(before)
    masks = re.findall(r"COLLISION_X_MASK (\S+)", after)
    assert sorted(masks) == ["1'0", "1'1"]
    assert after.replace("MASK 1'1", "MASK 1'0") == before


@pytest.fixture
def freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder for boards whose marked memories answer ones for an address that is being written."""
    convert_fragment, convert = rtlil.convert_fragment, verilog.convert

    def freed_fragment(*arguments: object, **options: object) -> tuple[str, object]:
        text, names = convert_fragment(*arguments, **options)
        return free_collisions(text), names

    def with_ones(*arguments: object, **options: object) -> str:
        text, found = re.subn(
            r"\d+'hx+", lambda x: f"~{x[0].split(chr(39))[0]}'h0", convert(*arguments, **options)
        )
        assert found > 20, "the answers of memories in a collision"
        return text

    monkeypatch.setattr(rtlil, "convert_fragment", freed_fragment)
    monkeypatch.setattr("bellrelay_gateware.emit.verilog.convert", with_ones)
    return tmp_path


@pytest.mark.usefixtures("verilator_on_path")
def test_nobody_asks_what_is_being_written(freed: Path) -> None:
    for load in ("pairs", "saturated"):
        case = random_acquisition(7, G, load, TICKS)
        script = acquisition_script(
            G, case.registers, case.t, case.channel, TICKS, trims={1: 12345}
        )
        with GatewareBoard(G, cache=freed) as board:
            comparison = compare_boards(EventBoard(G), board, script)
        assert comparison.identical, comparison.first_difference
