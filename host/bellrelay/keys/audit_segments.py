"""The files of an audit log: ``audit-SEQUENCE.jsonl``, each named after its first line's sequence.

A segment that is full ends with a line that says so; the next one begins with a line whose ``prev``
is the hash of that. None is ever deleted by us.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .audit_chain import PREV, SEQUENCE, ChainPosition, as_repair_of, follows, parsed
from .audit_record import AuditError

__all__ = [
    "AuditBroken",
    "Scan",
    "end_of_log",
    "first_sequences",
    "position_before",
    "scan",
    "segment_path",
]

_TAIL = 1 << 16


class AuditBroken(AuditError):
    """The log on disk is not what was written; nothing more goes into it."""


@dataclass(frozen=True)
class Scan:
    """What a piece of a log holds. end : of the last whole line, from where the piece began.

    position : of the chain there. action : of the last line; empty if there is none.
    """

    end: int
    position: ChainPosition
    action: str


def segment_path(directory: Path, sequence: int) -> Path:
    """The file whose first line has this sequence."""
    return directory / f"audit-{sequence:016d}.jsonl"


def first_sequences(directory: Path) -> list[int]:
    """Of all segments, in order."""
    found = []
    for path in directory.glob("audit-*.jsonl"):
        number = path.name.removeprefix("audit-").removesuffix(".jsonl")
        if number.isdigit():
            found.append(int(number))
    return sorted(found)


def scan(data: bytes, at: ChainPosition) -> Scan:
    """Follow the chain from ``at`` on, and over torn lines that a later one accounts for.

    What comes after the returned end is no whole line of this chain.
    """
    end, begin, action = 0, 0, ""
    while (newline := data.find(b"\n", begin)) >= 0:
        line = data[begin:newline]
        values = parsed(line)
        if values is not None and follows(values, at):
            if begin != end and not as_repair_of(values, data[end:begin]):
                break
            at = at.after(line)
            action = str(values.get("event.action", ""))
            end = newline + 1
        begin = newline + 1
    return Scan(end, at, action)


def position_before(directory: Path, segments: list[int]) -> ChainPosition:
    """Where the chain stands when the last of these segments begins.

    Raises
    ------
    AuditBroken
        The segment before does not end with a whole line, or not where this one begins.
    """
    last = segments[-1]
    if len(segments) == 1:
        return _from_first_line(segment_path(directory, last), last)
    path = segment_path(directory, segments[-2])
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    line = tail[:-1].rpartition(b"\n")[2]
    values = parsed(line) if tail.endswith(b"\n") else None
    if values is None or values[SEQUENCE] != last - 1:
        raise AuditBroken(f"{path}: does not end with line {last - 1}, where the next file begins")
    return ChainPosition(last - 1).after(line)


def end_of_log(directory: Path) -> ChainPosition:
    """Where the chain ends, as far as its last file tells; the beginning where there is no log.

    Reads only. AuditBroken as :func:`position_before`.
    """
    segments = first_sequences(directory)
    if not segments:
        return ChainPosition()
    at = position_before(directory, segments)
    return scan(segment_path(directory, segments[-1]).read_bytes(), at).position


def _from_first_line(path: Path, sequence: int) -> ChainPosition:
    """Of a segment before which nothing is kept: what its own first line says."""
    if sequence == 0:
        return ChainPosition()
    with path.open("rb") as file:
        values = parsed(file.readline().rstrip(b"\n"))
    if values is None or values[SEQUENCE] != sequence:
        raise AuditBroken(f"{path}: does not begin with line {sequence}")
    return ChainPosition(sequence, values[PREV])
