"""`bellrelay keyrate`: key rates of a link, or of a block's counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.picture_path import writable_picture

if TYPE_CHECKING:
    from bellrelay.cli.link_file import LinkFile, ScanKind
    from bellrelay.distill.ladder import Ladder

_DEFAULT_RANGE = {"distance": (0.0, 400.0, 5.0), "loss": (0.0, 80.0, 1.0)}
_MOST_POINTS = 10_000


def keyrate(
    link: Annotated[
        Path | None,
        typer.Argument(metavar="[LINK.yaml]", help="A link's file.", show_default=False),
    ] = None,
    counts: Annotated[
        Path | None, typer.Option("--counts", help="Bound the counts of this YAML instead.")
    ] = None,
    scan: Annotated[
        str | None, typer.Option("--scan", help="Rates over distance (km) or loss (dB).")
    ] = None,
    scan_range: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--range", help="Of the scan: start, stop, step.", show_default=False),
    ] = None,
    optimise: Annotated[
        bool,
        typer.Option("--optimise", help="Also the best intensities and probabilities."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the scan to a PNG.", callback=writable_picture),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Gains, error rates, decoy bounds and key rates of a modelled link, or bounds of counts.

    Rates R_infinite and R_two_decoy are asymptotic, per pair of pulses that both sent as a signal
    in Z; R_finite is per pair sent, from blocks of N pairs, with the epsilons that are printed.

    Examples: bellrelay keyrate link.yaml --json;
    bellrelay keyrate link.yaml --scan distance --range 0 200 10 --plot rates.png;
    bellrelay keyrate --counts counts.yaml --json
    """
    if (link is None) == (counts is None):
        raise typer.BadParameter("one file: LINK.yaml, or --counts COUNTS.yaml")
    if counts is not None:
        if scan or scan_range or optimise or plot:
            raise typer.BadParameter("--scan, --range, --optimise and --plot are for LINK.yaml")
        _counts(counts, as_json)
        return
    if scan is None and (plot is not None or scan_range is not None):
        raise typer.BadParameter("--plot and --range need --scan distance or --scan loss")
    if scan not in (None, *_DEFAULT_RANGE):
        raise typer.BadParameter(f"--scan {scan}: distance or loss")
    from bellrelay.cli.link_file import load_link_file

    assert link is not None
    file = load_link_file(link)
    if scan is None:
        _link(file, optimise, as_json)
    else:
        values = _values(scan_range or _DEFAULT_RANGE[scan])
        kind: ScanKind = "distance" if scan == "distance" else "loss"
        _scan(file, kind, values, scan_range is None, optimise, plot, as_json)


def _link(file: LinkFile, optimise: bool, as_json: bool) -> None:
    from bellrelay.cli.keyrate_report import (
        best_ladders,
        best_signal_report,
        link_report,
        optimum_report,
    )
    from bellrelay.cli.keyrate_tables import print_link

    report = link_report(file)
    if optimise:
        found = best_ladders(file)
        report["best_signal"] = best_signal_report(file)
        report["optimised"] = {str(n): optimum_report(best) for n, best in found.items()}
    if as_json:
        print(json.dumps(report))
    else:
        print_link(report)


def _counts(path: Path, as_json: bool) -> None:
    from bellrelay.cli.counts_file import load_counts_file
    from bellrelay.cli.keyrate_report import counts_report
    from bellrelay.cli.keyrate_tables import print_counts

    report = counts_report(load_counts_file(path))
    if as_json:
        print(json.dumps(report))
    else:
        print_counts(report)


def _scan(
    file: LinkFile,
    kind: ScanKind,
    values: list[float],
    to_the_end: bool,
    optimise: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    from bellrelay.cli.keyrate_plot import AXES, draw_scan
    from bellrelay.cli.keyrate_report import best_ladders, optimum_report, rates
    from bellrelay.cli.keyrate_tables import print_scan, progress

    points: list[dict[str, Any]] = []
    starts: dict[int, tuple[Ladder, Ladder]] = {}
    for value in progress(values, f"{kind} {AXES[kind][1]}"):
        point = file.model_copy(update={"link": file.link.scanned(kind, value)})
        points.append({"at": value, **rates(point)})
        if optimise:
            found = best_ladders(point, starts)
            points[-1]["optimised"] = {str(n): optimum_report(best) for n, best in found.items()}
            starts = {n: (best.alice, best.bob) for n, best in found.items()}
        if to_the_end and points[-1]["R_infinite"] == 0.0:
            break
    finite = file.finite
    report = {
        "simulation": True,
        "scan": kind,
        "unit": AXES[kind][1],
        "epsilon": {
            "secrecy": finite.epsilon_secrecy,
            "correctness": finite.epsilon_correctness,
        },
        "reconciliation_efficiency": finite.reconciliation_efficiency,
        "points": points,
    }
    if plot is not None:
        draw_scan(plot, kind, points, _caption(file, points))
    if as_json:
        print(json.dumps(report))
    else:
        print_scan(report)


def _caption(file: LinkFile, points: list[dict[str, Any]]) -> str:
    finite = file.finite
    method = points[0]["method"] if points else None
    return (
        f"a model of {Path(file.origin).name}: secrecy {finite.epsilon_secrecy:g}, correctness "
        f"{finite.epsilon_correctness:g}, f {finite.reconciliation_efficiency:g}"
        + (f"; {method}" if method else "")
    )


def _values(wanted: tuple[float, float, float]) -> list[float]:
    start, stop, step = wanted
    if not (0.0 <= start <= stop < float("inf") and step > 0.0):
        raise typer.BadParameter("--range START STOP STEP: 0 <= START <= STOP, STEP above 0")
    count = int((stop - start) / step * (1.0 + 1e-12)) + 1
    if count > _MOST_POINTS:
        raise typer.BadParameter(f"--range: {count} points, at most {_MOST_POINTS}")
    return [start + k * step for k in range(count)]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("keyrate")(keyrate)
