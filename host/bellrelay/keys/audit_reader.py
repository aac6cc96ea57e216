"""Reads an audit log that others write, from any place on, whole and durable lines alone."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .audit_chain import CLOSED, SEQUENCE, parsed
from .audit_record import AuditError
from .audit_segments import first_sequences, segment_path

__all__ = ["AuditReader", "ReadPosition", "ReadRecord", "load_position", "save_position"]

_PIECE = 1 << 18


@dataclass(frozen=True)
class ReadPosition:
    """Where reading goes on. sequence : of the line that comes next, as far as is known."""

    segment: int = 0
    offset: int = 0
    sequence: int = 0


@dataclass(frozen=True)
class ReadRecord:
    """A line without its newline, what it says, and where the next one begins."""

    line: bytes
    values: dict[str, Any]
    after: ReadPosition


class AuditReader:
    """Reads from a position on. OSError: the directory holds no log."""

    def __init__(self, directory: Path, position: ReadPosition | None = None) -> None:
        self.directory = directory
        self.position = position or ReadPosition()
        if position is None:
            first = next(iter(first_sequences(directory)), 0)
            self.position = ReadPosition(first, 0, first)
        # Whoever writes holds this lock until its lines are durable, or taken back.
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def read(self, max_bytes: int = _PIECE) -> list[ReadRecord]:
        """The next records; empty if there is none yet. Torn lines are stepped over.

        Raises
        ------
        AuditError
            They are no longer here.
        """
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            with segment_path(self.directory, self.position.segment).open("rb") as file:
                file.seek(self.position.offset)
                data = file.read(max_bytes)
                while data and b"\n" not in data:
                    more = file.read(max_bytes)
                    if not more:
                        break
                    data += more
        except FileNotFoundError:
            if any(n > self.position.segment for n in first_sequences(self.directory)):
                raise AuditError(
                    f"{self.directory}: records from {self.position.sequence} on are gone"
                ) from None
            # The next one is not begun yet.
            return []
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        found = []
        begin = 0
        while (newline := data.find(b"\n", begin)) >= 0:
            line = data[begin:newline]
            begin = newline + 1
            values = parsed(line)
            here = self.position
            at = ReadPosition(here.segment, here.offset + len(line) + 1, here.sequence)
            if values is not None:
                at = ReadPosition(at.segment, at.offset, values[SEQUENCE] + 1)
                if values.get("event.action") == CLOSED:
                    at = ReadPosition(at.sequence, 0, at.sequence)
                found.append(ReadRecord(line, values, at))
            self.position = at
            if at.offset == 0:
                break
        return found

    def close(self) -> None:
        """Give the lock's file back."""
        os.close(self._lock)


def load_position(path: Path) -> ReadPosition | None:
    """A position that was saved; None if there is none that can be used."""
    try:
        values = json.loads(path.read_text())
        numbers = {name: int(values[name]) for name in ("segment", "offset", "sequence")}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return ReadPosition(**numbers)


def save_position(path: Path, position: ReadPosition) -> None:
    """Replace what was saved. A crash may bring the one before back: then some are sent again."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(asdict(position)))
    fresh.replace(path)
