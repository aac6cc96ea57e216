"""`bellrelay network`: how much many relays and endpoints carry, and what to add where it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bellrelay.cli.network_loads import backlog, burst, cold_start
from bellrelay.cli.network_measure import measure
from bellrelay.cli.picture_path import writable_picture

_EXAMPLES = (
    "Examples: bellrelay network --relays 100 --endpoints 1000 --seed 1; "
    "bellrelay network --config network.yaml --grow 3 --plot capacity.png; "
    "bellrelay network --relays 4 --endpoints 40 --lose r000 --json; "
    "bellrelay network --processes --relays 2"
)


def network(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A network's file; none: a city is drawn.", metavar="FILE"),
    ] = None,
    relays: Annotated[
        int | None,
        typer.Option(
            help="Of the city, none: 100; with --processes, none: as many as this machine holds.",
            min=1,
            max=10_000,
        ),
    ] = None,
    endpoints: Annotated[
        int | None, typer.Option(help="Of the city; none: 1000.", min=2, max=100_000)
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            help="Of the city, none: as many as endpoints; with --processes, of all relays "
            "together, none: as many as relays.",
            min=1,
        ),
    ] = None,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes",
            help="Real relays on twins, endpoints and KMEs on this machine, beside the model.",
        ),
    ] = False,
    demand: Annotated[
        float, typer.Option(help="Of every pair of the city, bits of key per second.", min=1e-6)
    ] = 256.0,
    seed: Annotated[int, typer.Option(help="Of the city and of all that is drawn.")] = 1,
    grow: Annotated[
        float, typer.Option(help="Demand to plan for, times that of now.", min=0.001, max=1e6)
    ] = 2.0,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Simulated time of every run, none: two of the relays' longest turns; with "
            "--processes, time that each size is watched for, none: 20.",
            min=1.0,
            max=1e7,
        ),
    ] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="Before it, not looked at; none: a quarter of it.", min=0.0)
    ] = None,
    lose: Annotated[
        str | None,
        typer.Option(
            help="A relay that is lost, after a third of the time or when is said.",
            metavar="RELAY[@SECONDS]",
        ),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(help="What work takes, by `network measure`; none: what comes with this."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the city as a network's file.", metavar="OUT.yaml")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw it to a PNG.", callback=writable_picture)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How full everything in a network is, on paper and by a simulation of its events.

    Time of the relays, daemons, brokers, cores, KMEs: what is full first as demand grows, and what
    to add, with the same run again. All figures are a model's; assumptions are printed. With
    --processes: what this machine carries of it by real processes, beside the model of the same.
    """
    if context.invoked_subcommand is not None:
        return
    if processes:
        for name, value in (("config", config), ("endpoints", endpoints), ("lose", lose)):
            if value is not None:
                raise typer.BadParameter("does not go with --processes", param_hint=f"--{name}")
        from bellrelay.cli.network_processes import network_of_processes

        network_of_processes(relays, pairs, seconds, seed, rates, plot, as_json=as_json)
        return
    relays, endpoints = relays or 100, endpoints or 1000
    from bellrelay.cli.network_plot import draw_network
    from bellrelay.cli.network_report import network_report
    from bellrelay.cli.network_tables import print_network, progress
    from bellrelay.control.capacity.assessment import Length, assess
    from bellrelay.control.capacity.city import City, city, city_values
    from bellrelay.control.capacity.event_model import Loss
    from bellrelay.control.capacity.rates_file import load_rates
    from bellrelay.control.capacity.traffic import TrustedRoute
    from bellrelay.control.network_file import load_network_file

    measured = load_rates(rates)
    if config is not None:
        if write is not None:
            raise typer.BadParameter("goes with a city, not with --config", param_hint="--write")
        file, source = load_network_file(config), str(config)
    else:
        drawn = City(relays, endpoints, pairs, demand, seed=seed)
        try:
            file, source = city(drawn), f"a city that is not there, seed {seed}"
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--pairs") from None
        if write is not None:
            import yaml

            write.write_text(
                "# A city that is not there: bellrelay network "
                f"--relays {relays} --endpoints {endpoints} --seed {seed}\n"
                + yaml.safe_dump(city_values(drawn), sort_keys=False)
            )
    if seconds is None:
        seconds = 2.0 * max(r.turn_s for r in file.relays)
    loss = None
    if lose is not None:
        name, _, at = lose.partition("@")
        names = [r.name for r in file.relays]
        if name not in names:
            text = f"{name!r} is no relay: {', '.join(names[:8])}"
            raise typer.BadParameter(text, param_hint="--lose")
        try:
            loss = Loss(name, float(at) if at else seconds / 3.0)
        except ValueError:
            raise typer.BadParameter("RELAY@SECONDS", param_hint="--lose") from None
    length = Length(seconds, seconds / 4.0 if warm_up is None else warm_up, seed)
    try:
        with progress() as told:
            found = assess(file, measured, length, grow, loss, told)
    except TrustedRoute as error:
        raise typer.BadParameter(str(error), param_hint="--config") from None
    report = network_report(found, measured, length, loss, source)
    if plot is not None:
        draw_network(plot, report)
    if as_json:
        print(json.dumps(report))
    else:
        print_network(report)


def register(app: typer.Typer) -> None:
    """Add the verb and what goes with it."""
    group = typer.Typer(
        help="How much a network carries, by a model; what work takes, and real load.",
        invoke_without_command=True,
        epilog=_EXAMPLES,
    )
    group.callback(invoke_without_command=True, epilog=_EXAMPLES)(network)
    group.command("measure", epilog="Example: bellrelay network measure --out rates.yaml")(measure)
    group.command("burst", epilog="Example: bellrelay network burst --clients 1000")(burst)
    group.command("backlog", epilog="Example: bellrelay network backlog --hours 8")(backlog)
    group.command("cold-start", epilog="Example: bellrelay network cold-start --json")(cold_start)
    app.add_typer(group, name="network")
