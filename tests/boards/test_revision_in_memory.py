"""A board's revision is what a block memory holds, so that it moves nothing on the chip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from bellrelay_boards.catalogue import find_board
from bellrelay_boards.toolchain import run_tool
from bellrelay_gateware.register_bank import RegisterBank

SYNTHESIS = "read_rtlil top.il; synth_ecp5 -top top; write_json top.json"


def _netlist(folder: Path, revision: int) -> dict[str, Any]:
    folder.mkdir()
    bank = RegisterBank(find_board("ulx3s-85f").geometry, git_revision=revision)
    (folder / "top.il").write_text(rtlil.convert(bank))
    run_tool("yosys", ["-q", "-p", SYNTHESIS], folder, folder / "yosys.log")
    return json.loads((folder / "top.json").read_text())["modules"]["top"]


def test_two_revisions_differ_in_a_memorys_content_alone(tmp_path: Path) -> None:
    one = _netlist(tmp_path / "one", 0)
    two = _netlist(tmp_path / "two", 0xDEAD_BEEF)
    contents = [
        (name, parameter)
        for name, cell in one["cells"].items()
        for parameter, value in cell["parameters"].items()
        if two["cells"][name]["parameters"][parameter] != value
    ]
    assert contents
    for name, parameter in contents:
        assert one["cells"][name]["type"] == "DP16KD"
        assert parameter.startswith("INITVAL_")
        two["cells"][name]["parameters"][parameter] = one["cells"][name]["parameters"][parameter]
    # Names and their order too: place and route goes by both.
    assert json.dumps(one) == json.dumps(two)
