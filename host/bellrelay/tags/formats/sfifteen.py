"""S-Fifteen a1: 64-bit words, time in 1/256 ns in bits 63..10, detectors as a pattern below.

Bits 3..0 are a pattern: a word stands for a tag on each channel 1 to 4 whose bit is set, all at one
time. Bit 4 marks a roll-over of the device's own counter: such words carry no tag and are counted.
Programs that write the upper 32 bits first (`-X`) are read with `swap`. Times are floored to whole
picoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .blocks import Block, ReadNotes, TagFile, record_blocks

__all__ = ["read"]

_WORD = np.dtype("<u8")


def read(path: Path, swap: bool = False) -> TagFile:
    """Open an a1 file.

    Parameters
    ----------
    swap
        The upper half of each word comes first.
    """
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        for _, raw in record_blocks(path, _WORD, 0, n, notes):
            words = raw.astype(np.uint64, copy=False)
            if swap:
                words = words >> np.uint64(32) | words << np.uint64(32)
            rollover = words >> np.uint64(4) & np.uint64(1) == 1
            notes.count("rollover", int(np.count_nonzero(rollover)))
            yield _tags(words[~rollover], notes)

    return TagFile(path, "sfifteen", path.stat().st_size // 8, notes, blocks)


def _tags(words: NDArray[np.uint64], notes: ReadNotes) -> Block:
    # 54 bits of 1/256 ns are below 2**56 ps and more: 1000/256 = 125/32.
    time = (words >> np.uint64(10)).astype(np.int64)
    t = time // 32 * 125 + time % 32 * 125 // 32
    pattern = (words & np.uint64(15)).astype(np.uint8)
    notes.count("no_detector", int(np.count_nonzero(pattern == 0)))
    row, bit = np.nonzero(pattern[:, None] >> np.arange(4, dtype=np.uint8) & 1)
    return t[row], (bit + 1).astype(np.uint8)
