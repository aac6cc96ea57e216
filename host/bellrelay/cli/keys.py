"""`bellrelay keys`: a KME's keys, its incidents and its audit log, for operators."""

from __future__ import annotations

from collections.abc import Callable

import typer

from bellrelay.cli.keys_audit import audit
from bellrelay.cli.keys_incident import release, revoke, suspend
from bellrelay.cli.keys_show import list_keys, status
from bellrelay.cli.keys_upkeep import expire, push, rotate

_COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (list_keys, "bellrelay keys list --config kme.yaml --relay charlie-1 --json"),
    "status": (status, "bellrelay keys status --config kme.yaml --check"),
    "audit": (
        audit,
        "bellrelay keys audit --verify --config kme.yaml --checkpoints /mnt/elsewhere/kme-a.jsonl",
    ),
    "suspend": (
        suspend,
        "bellrelay keys suspend --config kme.yaml --relay charlie-1 "
        "--from 2026-11-25T04:00Z --reason 'blinding suspected'",
    ),
    "release": (release, "bellrelay keys release --config kme.yaml --reason 'false alarm'"),
    "revoke": (revoke, "bellrelay keys revoke --config kme.yaml --reason 'blinding confirmed'"),
    "rotate": (rotate, "bellrelay keys rotate --config kme.yaml"),
    "expire": (expire, "bellrelay keys expire --config kme.yaml --json"),
    "push": (push, "bellrelay keys push --config kme.yaml --bridge to-vault"),
}


def register(app: typer.Typer) -> None:
    """Add the verb with its commands."""
    keys = typer.Typer(
        no_args_is_help=True,
        help="Keys of a KME: list, status, audit, suspend, release, revoke, rotate, expire, push.",
        epilog="All work beside the running KME and without it, as the user that it runs as.",
    )
    for name, (command, example) in _COMMANDS.items():
        keys.command(name, epilog=f"Example: {example}")(command)
    app.add_typer(keys, name="keys")
