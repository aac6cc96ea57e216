"""Programs that make a bitstream: those of PyPI, or others named in the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ToolFailed", "ToolMissing", "run_tool", "tool_path"]

# Name to the environment variable that names another, as Amaranth has them.
_OVERRIDES = {
    "yosys": "YOSYS",
    "nextpnr-ecp5": "NEXTPNR_ECP5",
    "ecppack": "ECPPACK",
}
_TAIL_LINES = 12


class ToolMissing(Exception):
    """A program of the toolchain is not installed."""


class ToolFailed(Exception):
    """A program ended with an error; ``tail`` has the last lines of what it said."""

    def __init__(self, tool: str, code: int, tail: str) -> None:
        super().__init__(f"{tool} ended with exit code {code}: {tail}")
        self.tool = tool
        self.code = code
        self.tail = tail


def tool_path(tool: str) -> str:
    """The program: the environment's choice, else the one of PyPI beside this interpreter.

    Raises
    ------
    KeyError
        A tool that is not one of the toolchain.
    ToolMissing
        Naming the extra that brings it.
    """
    chosen = os.environ.get(_OVERRIDES[tool])
    name = chosen or f"yowasp-{tool}"
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    path = shutil.which(name, path=beside)
    if path is None:
        raise ToolMissing(
            f"{name} is not installed; it comes with the extra 'boards': "
            "pip install 'bellrelay[boards]'"
        )
    return path


def run_tool(tool: str, arguments: Sequence[str], folder: Path, log: Path) -> None:
    """Run a program in a folder; all that it says goes to the log.

    Raises
    ------
    ToolMissing
        As :func:`tool_path`.
    ToolFailed
        Its exit code is not 0.
    """
    with log.open("wb") as out:
        code = subprocess.run(
            [tool_path(tool), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines[-_TAIL_LINES:]
        raise ToolFailed(tool, code, "; ".join(errors[-_TAIL_LINES:]))
