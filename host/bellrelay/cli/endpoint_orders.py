"""`bellrelay endpoint --act`, `--take-back`, `--new-baseline`: orders to the running daemon."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.control.operator_orders import BY_ORDER, OF_A_RELAY, RETURNED
from bellrelay.endpoint.control_socket import Refused, ask, socket_path
from bellrelay.settings.model import ConfigError

if TYPE_CHECKING:
    from bellrelay.endpoint.config import EndpointConfig

__all__ = ["act", "learn_anew", "take_back"]

_TIMEOUT_S = 180.0
"""Containment runs a command of the operator's."""


def act(
    settings: EndpointConfig, action: str, relay: str | None, why: str | None, as_json: bool
) -> None:
    """Have it done, and say what was done.

    Parameters
    ----------
    relay
        Needed where it is done to one: by the time of the order light may be at another.

    Raises
    ------
    ConfigError
        There is no such action, no reason, or the endpoint has no watch.
    NotRunning
        No endpoint of this configuration runs here.
    """
    _known(settings, "--act", action, [str(each) for each in BY_ORDER], why)
    known = [each.id for each in settings.relays]
    if action in map(str, OF_A_RELAY) and relay not in known:
        raise settings.error("--relay", relay, ", ".join(known))
    who = getpass.getuser()
    _ask(settings, as_json, "act", action=action, relay=relay, why=why, who=who)


def take_back(settings: EndpointConfig, action: str, why: str | None, as_json: bool) -> None:
    """End what stands; as :func:`act`."""
    _known(settings, "--take-back", action, [str(each) for each in RETURNED], why)
    _ask(settings, as_json, "take-back", action=action, why=why, who=getpass.getuser())


def learn_anew(settings: EndpointConfig, as_json: bool) -> None:
    """Have what is usual at the active relay forgotten and learnt anew; as :func:`act`."""
    _watched(settings, "--new-baseline")
    _ask(settings, as_json, "learn")


def _known(
    settings: EndpointConfig, option: str, action: str, known: list[str], why: str | None
) -> None:
    if action not in known:
        raise settings.error(option, action, ", ".join(known))
    if not why:
        raise ConfigError([f"{option} needs --why: for the logs"])
    _watched(settings, option)


def _watched(settings: EndpointConfig, option: str) -> None:
    if settings.watch is None:
        raise settings.error("watch", None, f"a watch, for {option}")


def _ask(settings: EndpointConfig, as_json: bool, order: str, **values: object) -> None:
    path = socket_path(settings.store.directory)
    try:
        answer = ask(path, order, _TIMEOUT_S, **values)
    except (Refused, TimeoutError) as error:
        why = str(error) or f"asked for, and not done within {_TIMEOUT_S:g} s"
        if as_json:
            print(json.dumps({"done": None, "why": why}))
        else:
            typer.echo(f"not done: {why}", err=True)
        raise typer.Exit(ExitCode.CHECK_FAILED) from None
    print(json.dumps(answer) if as_json else answer["done"])
