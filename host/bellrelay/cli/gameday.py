"""`bellrelay gameday`: faults are rehearsed on a simulated link, and what is done about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bellrelay.cli.exits import ExitCode

if TYPE_CHECKING:
    from bellrelay.control.gameday_scenario import Scenario

ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("gameday", epilog="Example: bellrelay gameday all --report gameday/")(gameday)


def gameday(
    scenario: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENARIO...",
            help="Scenarios' YAML files, names of those that come along, or all.",
        ),
    ],
    board: Annotated[
        str, typer.Option(help="event (fast model of the gateware) or gateware (Verilator).")
    ] = "event",
    short: Annotated[
        bool,
        typer.Option("--short", help="All scenarios in one running system, one after another."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Where report.json, report.md and timeline.png go.", metavar="DIR"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Where all files of the processes stay: what they read, wrote and said, in a "
            "folder per system. Key is among it.",
            metavar="DIR",
        ),
    ] = None,
    without_injection: Annotated[
        bool,
        typer.Option(
            "--without-injection",
            help="Do nothing to the system: a scenario that passes then proves nothing.",
        ),
    ] = False,
    by_runbook: Annotated[
        Path | None,
        typer.Option(
            help="Nothing is done by itself: the commands of the runbook that the system names are "
            "run as they are written in this folder, docs/runbooks.",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rehearse faults: two relays, Alice, Bob and their KMEs as processes, all light simulated.

    Every scenario waits until the link is healthy, does something to it, and holds against its
    limits how soon the fault is told, what is done, how soon there is key again, and that no
    finished block is lost. The exit code is 8 if anything does not hold.
    """
    from bellrelay.cli.gameday_whole import run_gameday
    from bellrelay.cli.run_progress import RunProgress

    if board not in ("event", "gateware"):
        raise typer.BadParameter(f"{board!r}; allowed: event, gateware", param_hint="--board")
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise typer.BadParameter(f"{keep} is there and not empty", param_hint="--keep")
    with RunProgress(1, quiet=as_json) as progress:
        result = run_gameday(
            _scenarios(scenario, drills=by_runbook is not None),
            board=board,
            together=short,
            inject=not without_injection,
            tell=progress.say,
            pages=by_runbook,
            keep=keep,
        )
    if report is not None:
        from bellrelay.control.gameday_report import write_report

        write_report(result, report)
    if as_json:
        print(json.dumps(result.as_json()))
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(result.as_markdown()))
    if not result.passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _scenarios(wanted: Sequence[str], *, drills: bool) -> list[Scenario]:
    """By name or file; ConfigError, or typer.BadParameter for a name that there is not.

    drills : whether those are among all that rehearse a runbook and nothing else.
    """
    from bellrelay.control.gameday_scenario import DRILLS, SCENARIOS, load_scenario, scenarios_of

    known = {path.stem: path for folder in (SCENARIOS, DRILLS) for path in scenarios_of(folder)}
    paths: list[Path] = []
    for one in wanted:
        if one == ALL:
            paths += known.values() if drills else scenarios_of(SCENARIOS)
        elif one in known or Path(one).is_file():
            paths.append(known.get(one, Path(one)))
        else:
            raise typer.BadParameter(f"{one!r}; allowed: a file, all, {', '.join(known)}")
    return sorted(map(load_scenario, paths), key=lambda scenario: scenario.last)
