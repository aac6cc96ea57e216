"""`bellrelay relay`: the daemon of one relay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("relay")(relay)


def relay(
    config: Annotated[Path, typer.Option(help="The relay's YAML.", metavar="FILE.yaml")],
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, ask the board, and end.")
    ] = False,
    view: Annotated[
        bool,
        typer.Option("--view", help="Serve the live view, a page for the bench; see `view:`."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Read a board, log its announcements, serve them; SIGTERM ends it cleanly.

    With --view: histograms, rates and alarms as they come, at http://127.0.0.1:8010 unless the
    configuration says otherwise; read-only unless it names a token. Example:

        bellrelay relay --config relay.yaml --view

    With --check: whether the configuration can be used, and, if the port is there, what board
    answers on it. Nothing is written to the board.
    """
    from bellrelay.control.relay_settings import RelaySettings

    settings = RelaySettings(config)
    if check:
        _check(settings.config, as_json)
        return
    import asyncio

    from bellrelay.cli.block_traces import relay_trace
    from bellrelay.cli.relay_companions import relay_companions
    from bellrelay.relay.daemon import RelayDaemon, run_relay
    from bellrelay.service.log_format import log_to_stderr

    log_to_stderr()
    settings.settle("bellrelay relay")
    companions, page = relay_companions(settings, view=view)

    def started(daemon: RelayDaemon) -> None:
        settings.bring_into_force = daemon.reconfigure
        if page is not None:
            page.attach(daemon)
        if as_json:
            addresses = {"fan_out_port": daemon.fan_out.port, "health_port": daemon.health.port}
            print(json.dumps({**daemon.status(), **addresses}, allow_nan=True), flush=True)

    with relay_trace(settings.config) as trace:
        asyncio.run(run_relay(settings.config, started, companions, trace))


def _check(settings: object, as_json: bool) -> None:
    from bellrelay.relay.board_check import check_board
    from bellrelay.relay.config import RelayConfig

    assert isinstance(settings, RelayConfig)
    result = check_board(settings)
    if as_json:
        print(json.dumps(result))
    else:
        print(
            f"{settings.origin}: can be used; {settings.port}: board {result['board']!r}, "
            f"gateware {result['gateware']}, {result['detectors']} detectors, {result['state']}"
        )
