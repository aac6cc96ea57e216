"""Swabian raw tags: 16-byte records, as their API documents the struct Tag.

u8 type (0 tag, 1 error, 2 overflow begin, 3 overflow end, 4 missed events), u8 reserved, u16 missed
events, i32 channel, i64 time in ps, little-endian. Falling edges have negative channel numbers:
channel -c is read as 128 + c.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .blocks import Block, ReadNotes, TagFile, record_blocks
from .tag_file_error import TagFileError

__all__ = ["RECORD", "read"]

RECORD = np.dtype(
    [("type", "u1"), ("reserved", "u1"), ("missed", "<u2"), ("channel", "<i4"), ("time", "<i8")]
)
_KINDS = ("tag", "error", "overflow_begin", "overflow_end", "missed_events_record")
_FALLING = 128


def read(path: Path) -> TagFile:
    """Open a file of 16-byte records; what is no tag is counted by kind."""
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        for offset, records in record_blocks(path, RECORD, 0, n, notes):
            kind = records["type"]
            unknown = np.flatnonzero(kind >= len(_KINDS))
            if unknown.size:
                at = int(unknown[0])
                raise TagFileError(path, f"record type {kind[at]}; known: 0 to 4", offset + 16 * at)
            for code in range(1, len(_KINDS)):
                notes.count(_KINDS[code], int(np.count_nonzero(kind == code)))
            missed = records["missed"][kind == 4]
            notes.count("missed_events", int(missed.sum(dtype=np.int64)))
            tags = records[kind == 0]
            number = tags["channel"].astype(np.int64)
            channel = np.where(number < 0, _FALLING - number, number)
            wrong = (channel > 255) | (number >= _FALLING)
            if wrong.any():
                at = int(np.flatnonzero(kind == 0)[np.flatnonzero(wrong)[0]])
                raise TagFileError(
                    path,
                    f"channel {records['channel'][at]}; allowed: -127 to 127",
                    offset + 16 * at,
                )
            yield tags["time"].astype(np.int64), channel.astype(np.uint8)

    return TagFile(path, "swabian", path.stat().st_size // RECORD.itemsize, notes, blocks)
