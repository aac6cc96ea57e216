"""Fields of a record, by the names of the Elastic Common Schema (ECS) 8.17.

The log itself is written with these names, so that what a SIEM indexes is, byte for byte, what the
chain is made of. What ECS has no name for stands below ``bellrelay``, as ECS asks of custom fields.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .audit_record import AuditEvent

__all__ = ["ECS_DETAILS", "ECS_VERSION", "OWN", "Origin", "ecs_fields"]

ECS_VERSION = "8.17.0"
# Above what the chain needs for itself; no detail may use it.
OWN = "bellrelay.audit."

# Details that ECS has a field for: these names stand as they are, all others below `bellrelay`.
ECS_DETAILS = frozenset(
    {
        "destination.ip",
        "destination.port",
        "error.code",
        "error.message",
        "event.duration",
        "event.end",
        "event.reason",
        "event.start",
        "http.request.method",
        "http.response.status_code",
        "server.address",
        "source.address",
        "source.ip",
        "source.port",
        "tls.client.issuer",
        "tls.client.subject",
        "tls.client.x509.serial_number",
        "url.path",
        "user_agent.original",
    }
)

# event.type by the last word of an action.
_TYPES = {
    "added": "creation",
    "adopted": "change",
    "begun": "start",
    "changed": "change",
    "consumed": "deletion",
    "created": "creation",
    "delivered": "access",
    "ended": "end",
    "expired": "deletion",
    "fetched": "access",
    "pushed": "access",
    "refused": "denied",
    "released": "change",
    "reserved": "change",
    "resumed": "change",
    "revoked": "deletion",
    "rotated": "change",
    "started": "start",
    "stopped": "end",
    "suspended": "change",
    "undone": "change",
    "wiped": "deletion",
}
# What ECS allows below event.category "configuration"; "api" allows all of the above.
_CONFIGURATION = {"access", "change", "creation", "deletion", "info"}


@dataclass(frozen=True)
class Origin:
    """Which program writes. service : the id of the KME or relay. program : which of them it is."""

    service: str
    program: str = "kme"
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


def ecs_fields(event: AuditEvent, origin: Origin, now: datetime) -> dict[str, Any]:
    """Everything but the chain's own fields."""
    kind = _TYPES.get(event.action.rpartition("-")[2], "info")
    by_operator = event.actor.startswith(("operator:", "system"))
    if by_operator and kind not in _CONFIGURATION:
        kind = "info"
    return {
        "@timestamp": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "ecs.version": ECS_VERSION,
        "event.action": event.action,
        "event.category": ["configuration" if by_operator else "api"],
        "event.kind": "event",
        "event.outcome": event.outcome,
        "event.type": [kind],
        "host.name": origin.host,
        "process.pid": origin.pid,
        "service.name": f"bellrelay-{origin.program}",
        "service.node.name": origin.service,
        "user.id": event.actor,
        "bellrelay.object": event.object_,
        **_details(event.details),
    }


def _details(details: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    return {
        name if name in ECS_DETAILS else f"bellrelay.{name}": value
        for name, value in details.items()
    }
