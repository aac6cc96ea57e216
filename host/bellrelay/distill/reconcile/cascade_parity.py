"""Parities of intervals of packed bits; place p is bit p mod 64 of word p // 64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import inlined

__all__ = [
    "Whole",
    "bit",
    "bits_below",
    "interval_parity",
    "subset_parity",
    "toggle",
    "word_parity",
]

Whole = int | np.int64
"""Whole numbers as the loops have them: Python's, or one read from an array."""


@inlined
def word_parity(word: np.uint64) -> np.uint8:
    """Parity of the bits of a word."""
    word ^= word >> np.uint64(32)
    word ^= word >> np.uint64(16)
    word ^= word >> np.uint64(8)
    word ^= word >> np.uint64(4)
    # Bit i of 0x6996 is the parity of i.
    return np.uint8((np.uint64(0x6996) >> (word & np.uint64(15))) & np.uint64(1))


@inlined
def interval_parity(words: NDArray[np.uint64], start: Whole, level: Whole) -> np.uint8:
    """Parity of [start, start + 2^level); start is a multiple of its length, 0 past the end."""
    first = start >> 6
    if level < 6:
        inside = (np.uint64(1) << np.uint64(1 << level)) - np.uint64(1)
        return word_parity((words[first] >> np.uint64(start & 63)) & inside)
    word = np.uint64(0)
    for w in range(first, min(first + (1 << (level - 6)), words.size)):
        word ^= words[w]
    return word_parity(word)


@inlined
def subset_parity(
    words: NDArray[np.uint64], mask: NDArray[np.uint64], start: Whole, level: Whole
) -> np.uint8:
    """As `interval_parity`, of the bits that are set in the mask."""
    first = start >> 6
    if level < 6:
        inside = (np.uint64(1) << np.uint64(1 << level)) - np.uint64(1)
        return word_parity(((words[first] & mask[first]) >> np.uint64(start & 63)) & inside)
    word = np.uint64(0)
    for w in range(first, min(first + (1 << (level - 6)), words.size)):
        word ^= words[w] & mask[w]
    return word_parity(word)


@inlined
def bit(words: NDArray[np.uint64], place: Whole) -> np.uint64:
    """The bit at a place."""
    return np.uint64((words[place >> 6] >> np.uint64(place & 63)) & np.uint64(1))


@inlined
def toggle(words: NDArray[np.uint64], place: Whole) -> None:
    """Invert the bit at a place."""
    words[place >> 6] ^= np.uint64(1) << np.uint64(place & 63)


@inlined
def bits_below(word: np.uint64) -> np.int64:
    """Number of zeros below the lowest bit that is set; 64 if there is none."""
    below = ~word & (word - np.uint64(1))
    below -= (below >> np.uint64(1)) & np.uint64(0x5555555555555555)
    pairs = np.uint64(0x3333333333333333)
    below = (below & pairs) + ((below >> np.uint64(2)) & pairs)
    below = (below + (below >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((below * np.uint64(0x0101010101010101)) >> np.uint64(56))
