"""Lines of the audit log and how they hang together: each carries the SHA-256 of the one before.

A line is canonical JSON: keys in order, no spaces, ASCII alone, so that the same record has one
form. The first line of all has :data:`GENESIS` for the one before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .audit_ecs import OWN

__all__ = [
    "BEGUN",
    "CHECKPOINT",
    "CLOSED",
    "GENESIS",
    "OPENED",
    "PREV",
    "REPAIRED",
    "SEQUENCE",
    "ChainPosition",
    "as_repair_of",
    "canonical",
    "chained",
    "follows",
    "parsed",
    "repair_details",
]

GENESIS = "0" * 64
SEQUENCE = "event.sequence"
PREV = f"{OWN}prev"

# Actions of the log's own records.
BEGUN = "audit-begun"
CLOSED = "audit-segment-closed"
OPENED = "audit-segment-opened"
REPAIRED = "audit-repaired"
CHECKPOINT = "audit-checkpoint"


@dataclass(frozen=True)
class ChainPosition:
    """The end of a chain. sequence : of the next line. head : SHA-256 of the last line, hex."""

    sequence: int = 0
    head: str = GENESIS

    def after(self, line: bytes) -> ChainPosition:
        """Where the chain stands after this line (without its newline)."""
        return ChainPosition(self.sequence + 1, hashlib.sha256(line).hexdigest())


def canonical(values: Mapping[str, Any]) -> bytes:
    """The one form of a record. ValueError: a number that JSON does not have."""
    return json.dumps(
        dict(values), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def chained(values: Mapping[str, Any], at: ChainPosition) -> bytes:
    """The line of a record at this position, without its newline."""
    return canonical({**values, SEQUENCE: at.sequence, PREV: at.head})


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None if it is none."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    if type(values.get(SEQUENCE)) is not int or not isinstance(values.get(PREV), str):
        return None
    return values


def follows(values: Mapping[str, Any], at: ChainPosition) -> bool:
    """Whether a record is the one that comes at this position."""
    return bool(values[SEQUENCE] == at.sequence and values[PREV] == at.head)


# A process that dies while it writes leaves a part of its lines, which nobody was told are on
# record. They stay where they are; the next line says how many bytes that is and what they hash to.


def repair_details(torn: bytes) -> dict[str, str | int]:
    """What the record says that comes right after torn bytes (up to and with a newline)."""
    return {"torn_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()}


def as_repair_of(values: Mapping[str, Any], torn: bytes) -> bool:
    """Whether this record says that exactly these bytes before it are torn."""
    details = {f"bellrelay.{name}": value for name, value in repair_details(torn).items()}
    return values.get("event.action") == REPAIRED and details.items() <= values.items()
