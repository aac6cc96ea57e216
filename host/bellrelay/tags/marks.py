"""Positions of marked bytes, found without a branch at every byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import inlined
from .machine import count_bits, lowest_bit

__all__ = ["BITS", "SPARE", "bits_of", "list_bits"]

BITS = 64
"""Bytes whose marks make one word of bits."""

SPARE = 8
"""Room that a list needs beyond its last position."""


@inlined
def bits_of(marks: NDArray[np.uint64], word: int, shift: int) -> np.uint64:
    """Bit `shift` of `BITS` bytes, that lie eight by eight in words, of word number `word`."""
    bits = np.uint64(0)
    for k in range(8):
        ones = marks[8 * word + k] >> np.uint64(shift) & np.uint64(0x0101010101010101)
        # The product has the lowest bits of the 8 bytes side by side in its highest byte.
        ones *= np.uint64(0x0102040810204080)
        bits |= ones >> np.uint64(56) << np.uint64(8 * k)
    return bits


@inlined
def list_bits(bits: np.uint64, first: int, positions: NDArray[np.int32], n: np.uint64) -> np.uint64:
    """Append `first` plus the position of each bit to the `n` positions; the number then."""
    after = n + count_bits(bits)
    while n < after:
        # Eight at a time, needed or not: asking each time whether there is another costs more. What
        # is too much will be overwritten.
        for k in range(SPARE):
            positions[n + np.uint64(k)] = np.uint64(first) + lowest_bit(bits)
            bits &= bits - np.uint64(1)
        n += np.uint64(SPARE)
    return after
