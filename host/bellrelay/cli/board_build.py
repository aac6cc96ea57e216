"""A build with its progress on stderr and its table on stdout."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from bellrelay_boards.build_report import BuildReport
    from bellrelay_boards.clocks import Reference

__all__ = ["REPORT_FILE", "build_with_progress", "git_revision", "print_report"]

REPORT_FILE = "build.json"
"""Beside the bitstream: what it was built from."""


def git_revision(folder: Path) -> str:
    """First eight hex digits of the commit that a folder is at; empty if it is in none."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        return ""
    return found[:8] if re.fullmatch(r"[0-9a-f]{40,64}", found) else ""


@contextmanager
def _stages(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows the stage under way and the time it has taken; a line for each that is over."""
    console = Console(stderr=True, quiet=quiet)
    begun = time.monotonic()
    current: list[tuple[str, float]] = []

    def over() -> None:
        if current:
            stage, since = current.pop()
            console.print(f"{stage:16} {time.monotonic() - since:7.1f} s", highlight=False)

    with console.status("starting") as status:

        def begin(stage: str) -> None:
            over()
            current.append((stage, time.monotonic()))
            status.update(f"{stage}, {time.monotonic() - begun:.0f} s so far")

        yield begin
        over()


def build_with_progress(
    name: str, folder: Path, *, reference: Reference, serial: str, seed: int | None, quiet: bool
) -> BuildReport:
    """Build a board; what it was built from is kept beside the bitstream.

    Raises
    ------
    UnknownBoard, ToolMissing, ToolFailed
        As the boards' package has them.
    """
    import bellrelay_boards
    from bellrelay_boards.build import BuildOptions, build_board
    from bellrelay_boards.catalogue import find_board

    board = find_board(name)
    revision = git_revision(Path(bellrelay_boards.__file__).parent)
    options = BuildOptions(reference=reference, serial=serial, git_revision=revision, seed=seed)
    with _stages(quiet) as begin:
        report = build_board(board, folder, options, begin)
    (folder / REPORT_FILE).write_text(json.dumps(report.as_json(), indent=1))
    return report


def print_report(report: BuildReport) -> None:
    """Resources, clocks and delay lines as tables; figures are placed, not measured."""
    console = Console(highlight=False)
    clocks = Table("clock", "needed MHz", "placed MHz", "margin", title=f"{report.board}, placed")
    for clock in report.clocks:
        clocks.add_row(
            clock.name,
            f"{clock.constraint_mhz:.1f}",
            f"{clock.achieved_mhz:.1f}",
            f"{clock.margin_percent:+.1f} %",
            style=None if clock.met else "red",
        )
    resources = Table("resource", "used", "of", "share")
    for use in report.resources:
        share = f"{100 * use.used / use.available:.1f} %"
        resources.add_row(use.kind, str(use.used), str(use.available), share)
    lines = Table("delay line", "taps", "first", "last")
    for line in report.lines:
        lines.add_row(line.name, str(line.taps), line.first, line.last)
    for table in (clocks, resources, lines):
        console.print(table)
    for fault in report.faults:
        console.print(f"FAILS: {fault}", style="red")
    if report.passed:
        console.print(f"all gates hold; bitstream: {report.bitstream}")
