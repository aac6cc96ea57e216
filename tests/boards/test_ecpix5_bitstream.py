"""The board that every run of the tests builds: from the sources to a bitstream, gates held."""

from __future__ import annotations

from pathlib import Path

import pytest

from bellrelay_boards.build import build_board
from bellrelay_boards.catalogue import all_boards
from bellrelay_boards.clocks import SYNC_HZ, TAG_HZ
from bellrelay_gateware.tapped_line import MIN_TAPS


@pytest.mark.timeout(3600)  # synthesis, place and route of a whole chip, on whatever machine
def test_ecpix5_is_placed_routed_and_packed(tmp_path: Path) -> None:
    board = all_boards()["ecpix5-85f"]
    report = build_board(board, tmp_path)
    assert report.faults == ()
    placed = {clock.constraint_mhz: clock.achieved_mhz for clock in report.clocks}
    assert placed[TAG_HZ / 1e6] >= 200
    assert placed[SYNC_HZ / 1e6] >= 100
    assert {line.name for line in report.lines} == {
        f"channel{c}" for c in range(board.geometry.n_channels)
    }
    assert all(
        line.taps == board.lines[0].n_taps >= min(MIN_TAPS.values()) for line in report.lines
    )
    assert Path(report.bitstream).stat().st_size > 100_000
