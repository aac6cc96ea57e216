"""`bellrelay nats`: what a NATS broker needs to know of our relays and endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bellrelay.relay.nats_settings import NatsSettings

_Config = Annotated[Path, typer.Option(help="A relay's YAML.", metavar="FILE.yaml")]


def register(app: typer.Typer) -> None:
    """Add the verb with its commands."""
    nats = typer.Typer(
        no_args_is_help=True,
        help="What a NATS broker needs for announcements: streams, and permissions of its users.",
    )
    nats.command(
        "stream",
        epilog="Example: bellrelay nats stream --config relay.yaml --certificate admin.crt "
        "--key admin.key",
    )(stream)
    nats.command("users", epilog="Example: bellrelay nats users --config alice.yaml")(users)
    app.add_typer(nats, name="nats")


def stream(
    config: _Config,
    certificate: Annotated[
        Path | None, typer.Option(help="The administrator's certificate, PEM.", metavar="FILE")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", metavar="FILE")] = None,
) -> None:
    """Make the relay's stream at its broker, or change it to what the relay's YAML says now.

    No relay may do so itself: it takes the certificate of a user who administers the broker, unless
    the relay's YAML says `plain: true`.
    """
    import asyncio

    from bellrelay.relay.config import load_config
    from bellrelay.relay.nats_stream import make_stream
    from bellrelay.service.nats_connection import broker_context

    relay = load_config(config)
    if relay.nats is None:
        raise relay.error("nats", None, "a broker")
    settings = relay.nats
    name = settings.stream_of(relay.relay_id)
    servers = _as_administrator(settings, certificate, key)
    try:
        broker_context(servers)
    except OSError as error:
        files = ", ".join(map(str, servers.tls.files)) if servers.tls is not None else ""
        why = " ".join(str(error.strerror or error).split())
        raise typer.BadParameter(f"one of {files} cannot be used: {why}") from None
    state: Any = asyncio.run(make_stream(servers, name, settings.retention))
    kept = f"{state.state.messages} messages, {state.config.num_replicas} replicas"
    print(f"{name}: {', '.join(state.config.subjects)}; {kept}")


def _as_administrator(
    settings: NatsSettings, certificate: Path | None, key: Path | None
) -> NatsSettings:
    if settings.tls is None:
        return settings
    if certificate is None or key is None:
        raise typer.BadParameter("the broker wants --certificate and --key of its administrator")
    tls = settings.tls.model_copy(update={"certificate": certificate, "key": key})
    return settings.model_copy(update={"tls": tls})


def users(
    config: Annotated[
        Path, typer.Option(help="A relay's or an endpoint's YAML.", metavar="FILE.yaml")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name in its certificate; none: its id.", metavar="NAME"),
    ] = None,
    administrator: Annotated[
        str | None,
        typer.Option(
            help="Name in the certificate of who makes the relay's stream: has its entry, too.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Print what the broker's configuration must have of this node: its least permissions."""
    from bellrelay.relay.nats_permissions import administrator as permissions_of
    from bellrelay.settings.load import read_values

    values = read_values(config)
    entries = _entries(config, values, name)
    if administrator is not None:
        if "endpoint_id" in values:
            raise typer.BadParameter("--administrator goes with a relay's YAML: it has the stream")
        entries.append(permissions_of().user(administrator))
    for entry in entries:
        print(entry, end="")


def _entries(config: Path, values: dict[str, Any], name: str | None) -> list[str]:
    from bellrelay.relay.nats_permissions import consumer_of, publisher_of
    from bellrelay.settings.model import ConfigError
    from bellrelay.settings.nats import broker_name

    if "endpoint_id" in values:
        from bellrelay.endpoint.config import load_endpoint_config

        endpoint = load_endpoint_config(config)
        own = name or endpoint.endpoint_id
        out = [
            f"# account of {relay.id}\n"
            + consumer_of(
                relay.nats.stream or broker_name(relay.id),
                relay.nats.consumer or broker_name(endpoint.endpoint_id),
            ).user(own)
            for relay in endpoint.relays
            if relay.nats is not None
        ]
    else:
        from bellrelay.relay.config import load_config

        relay_config = load_config(config)
        nats = relay_config.nats
        out = []
        if nats is not None:
            stream_name = nats.stream_of(relay_config.relay_id)
            entry = publisher_of(stream_name).user(name or relay_config.relay_id)
            out.append(f"# account of {relay_config.relay_id}\n{entry}")
    if not out:
        raise ConfigError([f"{config}: nats: missing"])
    return out
