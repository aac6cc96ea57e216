"""Status and objectives as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from bellrelay.observe.daemon_status import DaemonStatus
    from bellrelay.observe.slo_status import SloReading, SloStatus
    from bellrelay.observe.status_report import StatusReport

__all__ = ["print_slos", "print_status"]

_COLOURS = {"well": "green", "degraded": "yellow", "unreachable": "red"}
_NO_DATA = "no data"


def print_status(report: StatusReport, console: Console) -> None:
    """One table of everybody, what is wrong, and what to read about it."""
    from rich.table import Table
    from rich.text import Text

    from bellrelay.observe.daemon_status import utc_text

    table = Table(title=f"Status, {utc_text(report.utc_ns)}", title_justify="left")
    for name in ("Who", "State", "Since (UTC)"):
        table.add_column(name, no_wrap=name != "State", vertical="top")
    table.add_column("What it says", overflow="fold")
    for daemon in report.daemons:
        since = "" if daemon.since_utc_ns is None else utc_text(daemon.since_utc_ns)
        table.add_row(
            Text.assemble((daemon.name, "bold"), (f"\n{daemon.kind}", "dim")),
            Text("\n".join(_state(daemon)), style=_COLOURS[daemon.condition]),
            since.removesuffix(" UTC").replace(" ", "\n"),
            _says(daemon),
            end_section=True,
        )
    console.print(table)
    for fault in report.faults:
        console.print(
            Text.assemble(
                (fault.name, "bold red"),
                f" of {fault.subject}" if fault.subject else "",
                f": {fault.title}. Runbook: {fault.runbook} (told by {fault.said_by})",
            ),
            soft_wrap=True,
        )
    if report.prometheus:
        console.print(Text(report.prometheus, style="red"), soft_wrap=True)
    elif report.alerts is None:
        console.print("No Prometheus is named: alerts, and for how long key lasts, are not known.")
    console.print(Text(_sum(report), style=_COLOURS[report.condition]), soft_wrap=True)


def _state(daemon: DaemonStatus) -> list[str]:
    """In its own word; and how it is, since not everybody sees colours."""
    return [daemon.state] * bool(daemon.state) + [str(daemon.condition)]


def _sum(report: StatusReport) -> str:
    counts = {
        condition: sum(d.condition == condition for d in report.daemons) for condition in _COLOURS
    }
    said = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    alerts = f"; {len(report.alerts)} alerts" if report.alerts else ""
    return f"{said or 'nobody was asked'}{alerts}"


def _says(daemon: DaemonStatus) -> Text:
    from rich.text import Text

    lines = [Text(line, style="red") for line in daemon.wrong]
    lines += [Text(f"{fault.name}: {fault.title}", style="red") for fault in daemon.faults]
    lines += [Text.assemble((f"{label}: ", "dim"), text) for label, text in daemon.says]
    return Text("\n").join(lines)


def print_slos(status: SloStatus, console: Console) -> None:
    """One row for each objective and each of those that it is promised of; then what fires."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Objectives over {status.window}", title_justify="left")
    table.add_column("Objective, and of whom", overflow="fold")
    for name in ("Target", "Reached", "Budget left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Burns, times too fast", overflow="fold")
    table.add_column("Recorded", justify="right")
    for r in status.readings:
        style = "" if r.kept else "red"
        left = _NO_DATA if r.budget_left is None else f"{100 * r.budget_left:.1f} %"
        reached = _NO_DATA if r.reached is None else _percent(r.reached)
        burns = [(window, r.burn(window)) for window in status.windows]
        table.add_row(
            Text.assemble(
                (r.slo.name, "bold"), (f"\n{', '.join(r.labels.values()) or 'nobody'}", "dim")
            ),
            _percent(r.slo.target),
            Text(reached, style=style),
            Text(left, style=style),
            ", ".join(f"{w} {'-' if burn is None else f'{burn:.1f}'}" for w, burn in burns),
            f"{100 * r.recorded:.0f} %",
        )
    console.print(table)
    for title in _unkept(status.readings):
        console.print(Text(title, style="red"), soft_wrap=True)
    for alert in status.alerts:
        of = ", ".join(f"{k} {v}" for k, v in alert.labels.items())
        console.print(
            Text.assemble(
                (f"{alert.severity}: {alert.name}", "bold red"),
                f" ({of}) since {alert.since[:19]}: {alert.summary}. {alert.description}. ",
                f"Runbook: {alert.runbook}",
            ),
            soft_wrap=True,
        )
    for line in status.failed:
        console.print(Text(f"rule that fails: {line}", style="red"), soft_wrap=True)
    if not status.alerts:
        console.print("no alert fires")


def _unkept(readings: Sequence[SloReading]) -> list[str]:

    out = []
    for r in readings:
        if r.kept:
            continue
        of = ", ".join(r.labels.values()) or "nobody"
        what = "no data" if r.budget_left is None else "its error budget is spent"
        out.append(f"{r.slo.name} of {of}: {what}. Runbook: {r.runbook}")
    return out


def _percent(share: float) -> str:
    """To the digits that its distance from 1 needs: 99.5 %, 99.987 %."""
    return f"{100 * share:.6g} %" if share < 0.9999 else f"{100 * share:.4f} %"
