"""`bellrelay doctor`: what is right and what is wrong with daemons' files, here and now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bellrelay.cli.errors import explain
from bellrelay.cli.exits import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from bellrelay.observe.doctor.examine import Examination

_EXAMPLES = (
    "Examples: bellrelay doctor --config relay.yaml; "
    "bellrelay doctor --config alice.yaml --config kme-alice.yaml --json"
)
_STYLES = {
    "passed": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("FAILED", "bold red"),
    "not known": ("not known", "cyan"),
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor", epilog=_EXAMPLES)(doctor)


def doctor(
    config: Annotated[
        list[Path],
        typer.Option(
            help="YAML of a relay, an endpoint, a KME or a cluster; may be given again.",
            metavar="FILE.yaml",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Look at everything that a daemon's file names, before it is started or when it is not well.

    Says line by line what is right, what is wrong, and what to do. It changes nothing and prints
    no secret.

    Ends with 0 if nothing has failed, else with the code of the first failure: that with which the
    daemon would end of it, or 8.
    """
    from bellrelay.observe.doctor.examine import examine

    found = [examine(path) for path in config]
    code = exit_code(found)
    if as_json:
        files = [each.as_json() for each in found]
        print(json.dumps({"well": code is ExitCode.OK, "exit_code": code.value, "files": files}))
    else:
        from rich.console import Console

        console = Console()
        for each in found:
            _print(each, console)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def exit_code(found: Sequence[Examination]) -> ExitCode:
    """Of the first failure."""
    from bellrelay.observe.doctor.finding import State

    for finding in (f for each in found for f in each.of(State.FAILED)):
        explained = None if finding.error is None else explain(finding.error)
        return ExitCode.CHECK_FAILED if explained is None else explained[1]
    return ExitCode.OK


def _print(examination: Examination, console: Console) -> None:
    from rich.text import Text

    from bellrelay.observe.doctor.finding import State

    head = " ".join(filter(None, (examination.kind, examination.name)))
    title = f"{head}: {examination.path}" if head else str(examination.path)
    console.print(Text(title, "bold"), soft_wrap=True)
    width = max(len(finding.check) for finding in examination.findings)
    for finding in examination.findings:
        word, style = _STYLES[finding.state]
        line = Text.assemble((f"{word:<11}", style), f"{finding.check:<{width}}  {finding.detail}")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<{width + 11}}  do: {finding.remedy}"), soft_wrap=True)
    counts = [f"{len(examination.of(state))} {_STYLES[state][0].lower()}" for state in State]
    console.print(", ".join(text for text in counts if not text.startswith("0 ")))
