"""A bitstream onto a board, and the identity that comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bellrelay.cli.board_build import REPORT_FILE
from bellrelay.cli.board_ports import ProbedPort, probe_ports

if TYPE_CHECKING:
    from bellrelay_boards.board import Programmer

__all__ = ["FlashFailed", "ProgrammerMissing", "find_program", "flash_board", "program_board"]

_PAUSE_S = 0.5


class ProgrammerMissing(Exception):
    """The program that brings a bitstream onto this board is not installed."""


class FlashFailed(Exception):
    """The board is not what was to be brought onto it."""


def flash_board(
    name: str,
    folder: Path,
    bitstream: Path | None,
    *,
    port: Path | None,
    baud: int,
    wait_s: float,
) -> ProbedPort:
    """Program the board, wait for it, and compare what it says of itself with the build.

    Raises
    ------
    UnknownBoard
        No board of this name.
    ProgrammerMissing
        With where to get it.
    FlashFailed
        No build, the programmer failed, nobody came back, or somebody else did.
    """
    from bellrelay_boards.catalogue import find_board

    board = find_board(name)
    file = bitstream or folder / "top.bit"
    expected = _expected(name, file, board.geometry.config_hash)
    program_board(board.programmer, file)

    end = time.monotonic() + wait_s
    while True:
        found = [p for p in probe_ports([port] if port else None, baud) if p.identity is not None]
        mine = [p for p in found if not _differences(p, expected)]
        if mine or time.monotonic() >= end:
            break
        time.sleep(_PAUSE_S)
    if len(mine) == 1:
        return mine[0]
    if mine:
        ports = ", ".join(str(p.port) for p in mine)
        raise FlashFailed(f"several boards answer alike ({ports}): say which with --port")
    if not found:
        raise FlashFailed(f"programmed, but no board has answered within {wait_s:g} s")
    wrong = "; ".join(f"{p.port}: {', '.join(_differences(p, expected))}" for p in found)
    raise FlashFailed(f"programmed, but the board that answers is another: {wrong}")


def _differences(found: ProbedPort, expected: dict[str, Any]) -> list[str]:
    says = found.as_json()
    return [
        f"{key} is {says[key]}, the build's is {value}"
        for key, value in expected.items()
        if says[key] != value
    ]


def _expected(name: str, file: Path, config_hash: int) -> dict[str, Any]:
    """What the board must say of itself, from the build's own record if there is one."""
    if not file.is_file():
        raise FlashFailed(f"{file}: no bitstream; make it with: bellrelay board build {name}")
    expected = {"board": name, "config_hash": f"{config_hash:08x}"}
    record = file.parent / REPORT_FILE
    if record.is_file():
        built = json.loads(record.read_text())
        if built["board"] != name:
            raise FlashFailed(f"{file} was built for {built['board']}, not for {name}")
        expected["config_hash"] = built["config_hash"]
        expected["git_revision"] = (built["git_revision"] or "0").rjust(8, "0")
    return expected


def find_program(programmer: Programmer) -> str:
    """Path of the program that brings bitstreams onto a board. ProgrammerMissing."""
    program = programmer.arguments[0]
    path = shutil.which(program)
    if path is None:
        raise ProgrammerMissing(f"{program} is not installed; get it from {programmer.install}")
    return path


def program_board(programmer: Programmer, file: Path) -> None:
    """Bring a bitstream onto the board that is plugged in. ProgrammerMissing, FlashFailed."""
    path = find_program(programmer)
    program, *arguments = programmer.arguments
    if programmer.before:
        print(f"first: {programmer.before}", file=sys.stderr, flush=True)
    filled = [argument.format(bitstream=file) for argument in arguments]
    done = subprocess.run([path, *filled], check=False, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise FlashFailed(f"{program} ended with exit code {done.returncode}: {said}")
