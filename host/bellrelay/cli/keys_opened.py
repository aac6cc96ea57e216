"""A KME's store and audit log, opened for one command beside the daemon or without it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bellrelay.keys.audit_log import AuditLog
    from bellrelay.keys.audit_record import AuditEvent
    from bellrelay.keys.incident import Selector
    from bellrelay.keys.key_store import KeyStore
    from bellrelay.keys.kme_config import KmeConfig
    from bellrelay.settings.audit import AuditSettings

ConfigOption = Annotated[Path, typer.Option("--config", help="The KME's YAML.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
RelayOption = Annotated[
    str | None, typer.Option("--relay", help="Key of this relay.", metavar="RELAY")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Key that was made then or later: ISO 8601 with a zone.",
        metavar="TIME",
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option("--to", help="Key whose making began before this time.", metavar="TIME"),
]


class AuditOnDemand:
    """The audit log, opened with the first record: commands that only look leave it alone."""

    def __init__(self, settings: AuditSettings, kme_id: str) -> None:
        self._settings = settings
        self._kme_id = kme_id
        self._log: AuditLog | None = None

    def record(self, *events: AuditEvent) -> None:
        """As the log does."""
        from bellrelay.keys.audit_service import open_audit_log

        if events and self._log is None:
            self._log = open_audit_log(self._settings, self._kme_id)
        if self._log is not None:
            self._log.record(*events)

    def close(self) -> None:
        """Sign what was recorded, and close."""
        if self._log is not None:
            self._log.close()


@dataclass(frozen=True)
class Opened:
    """What a command works with."""

    config: KmeConfig
    store: KeyStore
    audit: AuditOnDemand


def load_config(path: Path) -> KmeConfig:
    """The KME's YAML. What systemd hands to the KME as credentials, it hands to us in a place of
    our own (deploy/bellrelay-keys): files below the one are taken from the other. ConfigError.
    """
    from bellrelay.keys.kme_config import load_kme_config
    from bellrelay.service.credentials import with_own_credentials

    return with_own_credentials(load_kme_config(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The store of a YAML. ConfigError, StoreError, SealerError, OSError."""
    from bellrelay.keys.open_store import open_store

    config = load_config(path)
    audit = AuditOnDemand(config.audit, config.kme_id)
    try:
        store = open_store(config, audit)
        try:
            yield Opened(config, store, audit)
        finally:
            store.close()
    finally:
        audit.close()


def operator() -> str:
    """Who gives the command: the person, where sudo says who that is."""
    return f"operator:{os.environ.get('SUDO_USER') or getpass.getuser()}"


def selector(relay: str | None, since: str | None, until: str | None) -> Selector:
    """Of the options; BadParameter, and so exit code 2, where they say nothing or contradict."""
    from bellrelay.keys.incident import Selector

    try:
        return Selector(relay, nanoseconds("--from", since), nanoseconds("--to", until))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def nanoseconds(option: str, text: str | None) -> int | None:
    """UTC of an ISO 8601 time. A time without a zone is refused: whose would it be?"""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option}: no ISO 8601 time, such as 2026-11-25T04:00Z") from None
    if at.tzinfo is None:
        raise typer.BadParameter(f"{option}: a zone is missing, such as Z or +01:00")
    whole = at.astimezone(UTC)
    return int(whole.replace(microsecond=0).timestamp()) * 10**9 + whole.microsecond * 1000


def print_json(values: Any) -> None:
    """One line."""
    print(json.dumps(values))


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """For people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)
