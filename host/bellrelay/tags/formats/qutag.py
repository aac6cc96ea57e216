"""quTAG binary files: a header of 40 bytes, then records of u64 time (ps) and u16 channel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .blocks import Block, ReadNotes, TagFile, record_blocks
from .tag_file_error import TagFileError

__all__ = ["HEADER_BYTES", "RECORD", "read"]

HEADER_BYTES = 40
RECORD = np.dtype([("time", "<u8"), ("channel", "<u2")])
_MILLISECOND = 100
"""Channels from here on are marks that the vendor's program writes, among them a mark each ms."""


def read(path: Path) -> TagFile:
    """Open a quTAG file; records of channels from 100 on are counted as `mark`."""
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise TagFileError(path, f"{size} bytes; the header alone has {HEADER_BYTES}", 0)
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        for offset, records in record_blocks(path, RECORD, HEADER_BYTES, n, notes):
            beyond = np.flatnonzero(records["time"] >> np.uint64(62))
            if beyond.size:
                raise TagFileError(
                    path, "a time beyond 2**62 ps", offset + RECORD.itemsize * int(beyond[0])
                )
            tags = records[records["channel"] < _MILLISECOND]
            notes.count("mark", records.size - tags.size)
            yield tags["time"].astype(np.int64), tags["channel"].astype(np.uint8)

    return TagFile(path, "qutag", (size - HEADER_BYTES) // RECORD.itemsize, notes, blocks)
