"""`bellrelay endpoint --move-to RELAY`: a planned move, asked of the running daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.endpoint.control_socket import Refused, ask, socket_path

if TYPE_CHECKING:
    from bellrelay.endpoint.config import EndpointConfig

__all__ = ["move"]

_BOTH_S = 60.0
"""Beside the wait for the end of a block: until the peer has moved as well."""


def move(settings: EndpointConfig, relay_id: str, why: str, as_json: bool) -> None:
    """Ask for it, wait until both have moved, and say so.

    Raises
    ------
    ConfigError
        There is no such relay.
    NotRunning
        No endpoint of this configuration runs here.
    """
    known = [relay.id for relay in settings.relays]
    if relay_id not in known:
        raise settings.error("--move-to", relay_id, ", ".join(known))
    timeout_s = settings.relay_choice.drain_s + _BOTH_S
    try:
        answer = ask(
            socket_path(settings.store.directory), "move", timeout_s, relay=relay_id, why=why
        )
    except Refused as refused:
        _failed(f"not moved: {refused}", as_json)
    except TimeoutError:
        _failed(f"asked for, and not done on both sides within {timeout_s:g} s", as_json)
    if as_json:
        print(json.dumps({"moved": True, **answer}))
    else:
        print(f"both endpoints send to {answer['relay']}")


def _failed(why: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"moved": False, "why": why}))
    else:
        typer.echo(why, err=True)
    raise typer.Exit(ExitCode.CHECK_FAILED)
