"""`bellrelay network burst`, `backlog`, `cold-start`: real processes when load comes at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["backlog", "burst", "cold_start"]

_Rates = Annotated[
    Path | None,
    typer.Option(help="What work takes, by `network measure`; none: what comes with this."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def burst(
    clients: Annotated[
        int, typer.Option(help="Applications that ask at the same moment.", min=1, max=4000)
    ] = 256,
    keys: Annotated[
        int, typer.Option(help="Keys that each asks for, one request each.", min=1, max=1000)
    ] = 4,
    announcements: Annotated[
        float, typer.Option(help="That a relay has all at once.", min=1e3, max=1e9)
    ] = 4e6,
    consumers: Annotated[int, typer.Option(help="Endpoints that follow it.", min=1, max=256)] = 4,
    rates: _Rates = None,
    as_json: _Json = False,
) -> None:
    """Two KMEs that all applications ask at once; a relay that has very much to announce at once.

    Beside it, what the model says that the fullest process computes for it.
    """
    from bellrelay.cli.load_burst import burst as run
    from bellrelay.cli.load_burst import print_burst
    from bellrelay.control.capacity.rates_file import load_rates

    told = run(clients, keys, int(announcements), consumers, load_rates(rates))
    if as_json:
        print(json.dumps(told))
    else:
        print_burst(told)


def backlog(
    hours: Annotated[
        float, typer.Option(help="That the endpoints were away for.", min=0.001, max=10_000.0)
    ] = 0.5,
    block_s: Annotated[float, typer.Option(help="Time of a block.", min=0.1, max=86400.0)] = 60.0,
    announced: Annotated[
        float, typer.Option(help="Announcements in each.", min=1e5, max=1e8)
    ] = 4e5,
    most_blocks: Annotated[
        int, typer.Option(help="Of more blocks than this, so many are run.", min=4, max=100_000)
    ] = 64,
    rtt_ms: Annotated[
        float, typer.Option(help="Round trip between the endpoints.", min=0.0, max=10_000.0)
    ] = 2.0,
    in_flight: Annotated[
        int | None,
        typer.Option(help="Blocks in work at once; none: as configured by default.", min=1, max=64),
    ] = None,
    rates: _Rates = None,
    as_json: _Json = False,
) -> None:
    """Two endpoints catch up with a relay from its log: how long, how fast, how much memory."""
    from bellrelay.cli.load_backlog import Away, print_backlog
    from bellrelay.cli.load_backlog import backlog as run
    from bellrelay.control.capacity.rates_file import load_rates
    from bellrelay.endpoint.config import BlockSettings

    flight = in_flight or BlockSettings.model_fields["max_in_flight"].default
    away = Away(hours, block_s, int(announced))
    told = run(away, most_blocks, rtt_ms / 1e3, flight, load_rates(rates))
    if as_json:
        print(json.dumps(told))
    else:
        print_backlog(told)


def cold_start(
    compile_too: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Also with nothing compiled yet, as in a new container: takes a minute more.",
        ),
    ] = True,
    as_json: _Json = False,
) -> None:
    """From the start of processes to the first key: endpoints cold and warmed up, KMEs with key."""
    from bellrelay.cli.load_cold_start import cold_start as run
    from bellrelay.cli.load_cold_start import print_cold_start

    told = run(compile_too)
    if as_json:
        print(json.dumps(told))
    else:
        print_cold_start(told)
