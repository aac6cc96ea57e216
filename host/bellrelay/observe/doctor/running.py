"""Whether the daemon of a configuration runs, and what it says of itself."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bellrelay.observe.daemon_status import Condition, age_text, daemon_status
from bellrelay.observe.status_file import Kind, health_url
from bellrelay.service.health_asker import HealthAsker
from bellrelay.settings.model import FileModel, Health

from .finding import Finding, failed, passed, unknown

__all__ = ["Running", "ask_running", "check_daemon", "is_locked"]

_CHECK = "daemon"
_ASK_S = 5.0
"""Longer than a daemon of a busy machine takes; where nobody listens, the answer comes at once."""


@dataclass(frozen=True)
class Running:
    """It runs. health : what it said; None: it has no /health, or did not answer there."""

    health: Mapping[str, Any] | None = field(default=None, repr=False)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock that a daemon of ours has while it runs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


async def ask_running(
    health: Health, id_key: str, name: str, lock: Path | None = None
) -> Running | None:
    """Our own daemon, found by its /health or else by its lock; None: it does not run.

    id_key, name : what it must call itself there (``relay_id``, ``charlie-1``).
    """
    if health.listen is not None:
        url = health_url(health.listen)
        async with HealthAsker(_ASK_S) as asker:
            said = await asker.ask(url)
        if said is not None and said.get(id_key) == name:
            return Running(said)
    return Running() if lock is not None and is_locked(lock) else None


def check_daemon(
    config: FileModel, kind: Kind | None, name: str, running: Running | None
) -> Iterator[Finding]:
    """What `bellrelay status` would say of it. kind : None, a cluster's."""
    if running is None:
        yield passed(_CHECK, "it does not run")
        return
    health = running.health
    if health is None:
        yield unknown(
            _CHECK,
            "it runs, and is not asked how it is",
            "health.listen in its file, and bellrelay status",
        )
        return
    if kind is None:
        yield passed(_CHECK, f"it is {health['state']}, {health.get('workers', 0)} workers")
        return
    status = daemon_status(kind, name, "", health, time.time_ns())
    since = status.since_utc_ns
    age = "" if since is None else f" for {age_text((time.time_ns() - since) / 1e9)}"
    if status.condition is Condition.WELL:
        yield passed(_CHECK, f"it is {status.state}{age}")
    for line in status.wrong:
        yield failed(_CHECK, line, f"bellrelay status --config {config.origin}; docs/runbooks")
    for fault in status.faults:
        yield failed(_CHECK, f"{fault.name} of {fault.subject}: {fault.title}", fault.runbook)
