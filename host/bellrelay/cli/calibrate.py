"""`bellrelay calibrate`: calibration steps of a relay, their records, and what takes them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from bellrelay.cli.exits import ExitCode


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("calibrate", epilog="Example: bellrelay calibrate hom --config relay.yaml")(
        calibrate
    )


def calibrate(
    config: Annotated[Path, typer.Option(help="The relay's YAML.", metavar="FILE.yaml")],
    steps: Annotated[
        list[str] | None, typer.Argument(help="Steps in their order; see --list.", metavar="STEP")
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="All steps, but those for devices that are not configured."),
    ] = False,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the step, for this time.", metavar="KEY=VALUE"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and record; change no setting of the relay.")
    ] = False,
    list_steps: Annotated[
        bool, typer.Option("--list", help="All steps, and when each last ended well.")
    ] = False,
    records: Annotated[bool, typer.Option("--records", help="What was run, oldest first.")] = False,
    show: Annotated[int | None, typer.Option(help="All of one record.", metavar="NUMBER")] = None,
    undo: Annotated[
        str | None,
        typer.Option(help="Put back what a record changed.", metavar="NUMBER|last"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Measure something of the relay, bring it into force, and keep a record with a picture.

    While the relay's daemon runs, it does the work, between its acquisitions' announcements; else
    the board's port is opened here. Exit code 8 if a step has not ended well.
    """
    from bellrelay.cli.calibrate_work import Work

    given = [bool(steps), every, list_steps, records, show is not None, undo is not None]
    if sum(given) != 1:
        raise typer.BadParameter("either STEP..., --all, --list, --records, --show or --undo")
    if changed and not steps:
        raise typer.BadParameter("goes with STEP", param_hint="--set")
    if dry_run and not steps and not every:
        raise typer.BadParameter("goes with STEP or --all", param_hint="--dry-run")
    if undo is not None and undo != "last" and not undo.isdecimal():
        raise typer.BadParameter("a record's number, or last", param_hint="--undo")
    work = Work(config)
    if list_steps:
        _print(work.about_steps(), as_json, _line_of_step)
        return
    if records:
        _print(work.all_records(), as_json, _line_of_record)
        return
    if show is not None:
        print(json.dumps(work.record(show), indent=None if as_json else 1))
        return
    if undo is not None:
        ran = work.undo(work.last_change() if undo == "last" else int(undo))
    else:
        chosen = work.every_step() if every else list(steps or ())
        ran = work.run(chosen, _options(changed or []), keep=not dry_run)
    _print(ran, as_json, _line_of_run)
    if not all(one["ok"] for one in ran):
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _options(changed: list[str]) -> dict[str, Any]:
    out = {}
    for text in changed:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(f"{text!r}: no value", param_hint="--set") from None
    return out


def _print(rows: list[dict[str, Any]], as_json: bool, line: Any) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(line(row))


def _line_of_step(row: dict[str, Any]) -> str:
    disturbs = "disturbs key generation" if row["disturbs"] else "beside key generation"
    last = row["last_well"] or "never"
    return f"{row['step']:16} {row['about']} ({disturbs}; last well: {last})"


def _line_of_record(row: dict[str, Any]) -> str:
    verdict = "ok  " if row["ok"] else "FAIL"
    version = f" [version {row['version']}]" if row["version"] is not None else ""
    simulated = " (simulated)" if row["simulated"] else ""
    step = f"{row['step']}{simulated}"
    return f"{row['number']:6} {row['at']} {verdict} {step}: {row['text']}{version}"


def _line_of_run(row: dict[str, Any]) -> str:
    return f"{'ok  ' if row['ok'] else 'FAIL'} record {row['record']}: {row['text']}"
