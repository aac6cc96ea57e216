"""`bellrelay plan`: options for a network, compared by key, cost and work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bellrelay.cli.picture_path import writable_picture


def plan(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK.yaml", help="A network's file.", show_default=False)
    ],
    optimise: Annotated[
        bool,
        typer.Option("--optimise", help="Best ladders of every link: up to a minute each."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw it to a PNG.", callback=writable_picture),
    ] = None,
    timetable: Annotated[
        Path | None,
        typer.Option(
            help="Write when each relay serves whom, of the network as it is, for the endpoints' "
            "`timetable` key.",
            metavar="OUT.yaml",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Key for every pair of a network, as it is and with each option of the file.

    Relays and senders divide their time fairly: the worst served pair gets as large a share of its
    demand as can be. Beside that stand what the loss of the worst relay leaves, cost and work.
    Figures are a model's.

    Examples: bellrelay plan deploy/network.example.yaml;
    bellrelay plan network.yaml --plot options.png;
    bellrelay plan network.yaml --optimise --json
    """
    from bellrelay.cli.plan_plot import draw_plan
    from bellrelay.cli.plan_report import plan_report
    from bellrelay.cli.plan_tables import print_plan, progress
    from bellrelay.control.network_file import load_network_file
    from bellrelay.control.network_plan import plan_network

    file = load_network_file(network)
    options = 1 + len(file.options)
    plans = list(progress(plan_network(file, optimise), options))
    report = plan_report(file, plans, optimise)
    if timetable is not None:
        from bellrelay.cli.plan_timetable import write_timetable

        report["timetable"] = write_timetable(timetable, network, plans[0])
    if plot is not None:
        draw_plan(plot, report, network.name)
    if as_json:
        print(json.dumps(report))
    else:
        print_plan(report)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("plan")(plan)
