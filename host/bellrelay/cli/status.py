"""`bellrelay status`: who is up, what is wrong, what was promised and kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bellrelay.cli.exits import ExitCode

if TYPE_CHECKING:
    from bellrelay.control.calibration_records import Record
    from bellrelay.observe.slo_file import SloFile
    from bellrelay.observe.status_file import PrometheusAddress, StatusFile

_REPORT_S = 60.0
"""For an answer about a month, which takes longer than one about now."""


class ReportSpan(StrEnum):
    """What a report is about."""

    WEEK = "week"
    MONTH = "month"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    epilog = (
        "Examples: bellrelay status --config status.yaml; "
        "bellrelay status --config relay.yaml --config alice.yaml --watch; "
        "bellrelay status --config status.yaml --report week --out week.html"
    )
    app.command("status", epilog=epilog)(status)


def status(
    config: Annotated[
        list[Path],
        typer.Option(
            help="Whom to ask: a status file, or YAMLs of daemons; may be given again.",
            metavar="FILE.yaml",
        ),
    ],
    slo: Annotated[
        bool, typer.Option("--slo", help="How objectives are kept, by Prometheus' records.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="A view that is asked for anew every second.")
    ] = False,
    report: Annotated[
        ReportSpan | None, typer.Option(help="Write a report of the last seven or thirty days.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the report goes; in a folder it is named for its days.",
            metavar="FILE.html|DIR",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="UTC at which the report's days end; default: now.", metavar="TIME"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Ask relays, endpoints and KMEs how they are, and print one table.

    Ends with 0 if all is well, 8 if something is degraded or an alert fires, 12 if somebody does
    not answer. With --slo: 0 if every objective is kept and nothing fires, else 8; 3 if Prometheus
    does not evaluate the rules of the SLO file.
    """
    from bellrelay.observe.status_file import load_status_files

    if sum((slo, watch, report is not None)) > 1:
        raise typer.BadParameter("one of --slo, --watch, --report")
    if (report is None) != (out is None) or (until is not None and report is None):
        raise typer.BadParameter("--report and --out go together, --until with them")
    if watch and as_json:
        raise typer.BadParameter("goes with a table or --slo", param_hint="--json")
    file = load_status_files(config)
    if slo:
        _slo(file, as_json)
    elif watch:
        _watch(file)
    elif report is not None:
        assert out is not None
        _report(file, report, out, until, as_json)
    else:
        _status(file, as_json)


def _slo_file(file: StatusFile) -> SloFile | None:
    from bellrelay.observe.slo_file import load_slo_file

    return None if file.slo is None else load_slo_file(file.slo)


def _status(file: StatusFile, as_json: bool) -> None:
    from bellrelay.observe.status_report import StatusAsker, StatusReport

    slo = _slo_file(file)
    _somebody(file)

    async def ask() -> StatusReport:
        async with StatusAsker(file, slo) as asker:
            return await asker.ask()

    report = asyncio.run(ask())
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        from rich.console import Console

        from bellrelay.cli.status_tables import print_status

        print_status(report, Console())
    _end(str(report.condition))


def _somebody(file: StatusFile) -> None:
    if not file.daemons():
        raise file.error("relays, endpoints, kmes", None, "at least one, to be asked")


def _end(condition: str) -> None:
    codes = {"degraded": ExitCode.CHECK_FAILED, "unreachable": ExitCode.UNREACHABLE}
    if condition in codes:
        raise typer.Exit(codes[condition])


def _asked(file: StatusFile) -> tuple[SloFile, PrometheusAddress]:
    """The SLO file and the Prometheus. ConfigError: one of them is not named."""
    objectives, server = _slo_file(file), file.prometheus
    if objectives is None:
        raise file.error("slo", None, "the SLO file, deploy/slo.yaml for example")
    if server is None:
        raise file.error("prometheus", None, "{url: URL}, to be asked")
    return objectives, server


def _slo(file: StatusFile, as_json: bool) -> None:
    from bellrelay.observe.prometheus_api import PrometheusApi
    from bellrelay.observe.slo_status import SloStatus, slo_status
    from bellrelay.observe.status_file import trust

    objectives, server = _asked(file)
    tls = trust(server.ca, "prometheus.ca", file)

    async def ask() -> SloStatus:
        async with PrometheusApi(server.url, file.timeout_s, tls) as api:
            return await slo_status(api, objectives)

    found = asyncio.run(ask())
    if as_json:
        print(json.dumps(found.as_json()))
    else:
        from rich.console import Console

        from bellrelay.cli.status_tables import print_slos

        print_slos(found, Console())
    if not found.well:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _watch(file: StatusFile) -> None:
    from bellrelay.observe.status_report import StatusAsker
    from bellrelay.observe.status_view import StatusView

    if not sys.stdout.isatty():
        raise typer.BadParameter("needs a terminal", param_hint="--watch")
    slo = _slo_file(file)
    _somebody(file)

    async def run() -> None:
        async with StatusAsker(file, slo) as asker:
            await StatusView(asker.ask).run_async()

    asyncio.run(run())


def _report(
    file: StatusFile, span_name: ReportSpan, out: Path, until: str | None, as_json: bool
) -> None:
    import time

    from bellrelay.observe.calibration_audit import audit_calibrations
    from bellrelay.observe.daemon_status import utc_text
    from bellrelay.observe.prometheus_api import PrometheusApi
    from bellrelay.observe.report_data import ReportData, Span, gather
    from bellrelay.observe.report_page import report_page
    from bellrelay.observe.status_file import trust

    objectives, server = _asked(file)
    end_s = time.time() if until is None else _utc_s(until)
    span = Span.week(end_s) if span_name is ReportSpan.WEEK else Span.month(end_s)
    if out.is_dir():
        out = out / f"{span.name}-{utc_text(span.end_s * 1e9)[:10]}.html"
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise typer.BadParameter(f"{out} cannot be written", param_hint="--out")
    records, unread = _records(file)
    tls = trust(server.ca, "prometheus.ca", file)

    async def ask() -> ReportData:
        async with PrometheusApi(server.url, max(file.timeout_s, _REPORT_S), tls) as api:
            return await gather(api, objectives, span)

    data = asyncio.run(ask())
    audit = audit_calibrations(records, unread, span)
    out.write_text(report_page(data, objectives, audit, time.time()), encoding="utf-8")
    if as_json:
        print(json.dumps({"report": str(out), "span": span.name, "empty": data.empty}))
    else:
        print(f"{out}: the {span.name} until {utc_text(span.end_s * 1e9)}")
    if data.empty:
        print("bellrelay: Prometheus has no data of these days", file=sys.stderr)
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _utc_s(text: str) -> float:
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        wanted = "a time: 2026-11-23, 2026-11-23T06:00"
        raise typer.BadParameter(f"{text!r}; allowed: {wanted}", param_hint="--until") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _records(file: StatusFile) -> tuple[dict[str, list[Record]], list[str]]:
    """Records by relay; and of which they cannot be read, and why."""
    from bellrelay.control.calibration_records import Records

    found: dict[str, list[Record]] = {}
    unread = []
    for relay, directory in file.calibrations.items():
        # Looked at first: who only reads makes no directory.
        if not (directory / "records").is_dir():
            unread.append(f"{relay}: {directory}: there are no records")
            continue
        try:
            found[relay] = Records(directory).all()
        except OSError as error:
            unread.append(f"{relay}: {error}")
    return found, unread
