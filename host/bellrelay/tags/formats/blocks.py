"""What a reader hands out, and how the binary formats read their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tag_file_error import TagFileError

__all__ = ["DEFAULT_BLOCK", "Block", "ReadNotes", "TagFile", "record_blocks"]

DEFAULT_BLOCK = 1 << 20
"""Tags per block."""

Block = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""t: (n,) int64 ps; channel: (n,) uint8."""


@dataclass
class ReadNotes:
    """What a reader met besides tags; complete once the blocks are read through.

    Attributes
    ----------
    truncated_bytes : int
        Bytes of a last record that is not whole; it is left out.
    counts : dict of str to int
        Records that are no tags, by kind (`overflow`, `marker`, `missed_events`, ...).
    facts : dict of str to a number or text
        What the header says.
    """

    truncated_bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, int | float | str] = field(default_factory=dict)

    def count(self, kind: str, number: int) -> None:
        """Add to a count; nothing is entered for 0."""
        if number:
            self.counts[kind] = self.counts.get(kind, 0) + number


@dataclass(frozen=True)
class TagFile:
    """An open file of recorded tags.

    Attributes
    ----------
    path : Path
    format : str
    size : int or None
        About how many records there are, for progress; None if that is not known.
    notes : ReadNotes
    blocks : callable
        `blocks(n)` iterates over the tags in blocks of at most about n, from the beginning; memory
        stays bounded by the block. Raises TagFileError.
    """

    path: Path
    format: str
    size: int | None
    notes: ReadNotes
    blocks: Callable[[int], Iterator[Block]]


def record_blocks(
    path: Path, dtype: np.dtype[Any], start: int, n: int, notes: ReadNotes
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Records of a fixed length from byte `start` on, n at a time, each with its byte offset.

    A last record that is not whole is noted, not read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            offset = start
            while True:
                data = file.read(n * dtype.itemsize)
                whole = len(data) // dtype.itemsize * dtype.itemsize
                if whole:
                    yield offset, np.frombuffer(data[:whole], dtype=dtype)
                if len(data) < n * dtype.itemsize:
                    notes.truncated_bytes = len(data) - whole
                    return
                offset += whole
    except OSError as error:
        raise TagFileError(path, error.strerror or str(error)) from error
