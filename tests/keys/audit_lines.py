"""Audit logs for tests: events, the lines of a directory, and a writer that dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bellrelay.keys.audit_record import AuditEvent


def event(number: int = 0, action: str = "key-delivered", outcome: str = "success") -> AuditEvent:
    return AuditEvent(action, "sae:alice", f"key:{number}", outcome, {"size_bits": 256})


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("audit-*.jsonl"))


def lines(directory: Path) -> list[bytes]:
    return [line for path in segments(directory) for line in path.read_bytes().splitlines()]


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(directory)]


def actions(directory: Path) -> list[str]:
    return [str(record["event.action"]) for record in records(directory)]
