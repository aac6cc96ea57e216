"""Bare little-endian 64-bit words: channel in bits 63..56, picoseconds below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bellrelay.tags.words import decode_words, encode_words

from .blocks import Block, ReadNotes, TagFile, record_blocks
from .tag_file_error import TagFileError

__all__ = ["read", "write"]

_WORD = np.dtype("<u8")


def read(path: Path) -> TagFile:
    """Open a file of words."""
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        for _, words in record_blocks(path, _WORD, 0, n, notes):
            yield decode_words(words.astype(np.uint64, copy=False))

    return TagFile(path, "u64", path.stat().st_size // 8, notes, blocks)


def write(path: Path, blocks: Iterator[Block]) -> int:
    """Write words; the number of tags.

    Raises
    ------
    TagFileError
        A time outside 0 to 2**56 - 1.
    """
    total = 0
    with path.open("wb") as file:
        for t, channel in blocks:
            try:
                words = encode_words(t, channel)
            except ValueError as error:
                raise TagFileError(path, str(error)) from error
            file.write(words.astype(_WORD, copy=False).tobytes())
            total += t.size
    return total
