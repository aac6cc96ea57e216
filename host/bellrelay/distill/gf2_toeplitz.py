"""The product of a Toeplitz matrix and a vector over GF(2), by polynomials over GF(2^64).

The vector and the diagonals of the matrix are cut into blocks of 32 c bits. A block is a polynomial
of c coefficients of 32 bits each, so that a coefficient of a product of two blocks has 63 bits and
is exact in GF(2^64). Every block is transformed once (:mod:`.additive_fft`, 2 c points); at every
point the sums over pairs of blocks of like distance are taken; what is sent back is one block per
block of the result, and one more. That is the product of long polynomials without their padding to
a power of two, in pieces that fit the second cache.

Words are ``uint32`` with the first bit on top: packed big-endian bits, read as big-endian words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from .additive_fft import MAX_LOG, Plan, evaluate, interpolate, plan
from .carryless import LANES
from .field_rows import convolve

__all__ = ["WORD_BITS", "Diagonals", "Words", "toeplitz_product"]

WORD_BITS = 32
# The least transform: evaluate() wants four points.
_MIN_LOG = 2

Words = NDArray[np.uint32]
# (first word, number of words) -> words. Bit t of word w is the matrix's entry T[i][j] with
# i - j = 32 w + t; w may be negative. What lies beyond the matrix's corners is never looked at.
Diagonals = Callable[[int, int], Words]


class _Blocks(NamedTuple):
    """How a product is cut: transforms of 2^log points, and numbers of blocks.

    vector, result: blocks of 32 * 2^(log-1) bits. The diagonals have as many blocks as both.
    """

    log: int
    vector: int
    result: int

    @property
    def rows(self) -> int:
        """Coefficients of a block."""
        return 1 << (self.log - 1)

    @property
    def slabs(self) -> tuple[int, int, int]:
        """Slabs of eight blocks, of vector, diagonals and result, which has one block more."""
        counts = self.vector, self.vector + self.result, self.result + 1
        vector, diagonals, result = (-(-count // LANES) for count in counts)
        return vector, diagonals, result

    @property
    def cost(self) -> int:
        """About what a product takes, in rows of eight words times layers."""
        _, _, result = self.slabs
        return (sum(self.slabs) * self.log + result * self.vector) << self.log


def _cut(vector: int, result: int) -> _Blocks:
    """The cheapest cut for these numbers of words."""
    choices = (
        _Blocks(log, -(-vector >> (log - 1)), -(-result >> (log - 1)))
        for log in range(_MIN_LOG, MAX_LOG + 1)
    )
    return min(choices, key=lambda blocks: blocks.cost)


def _empty(words: int) -> NDArray[np.uint64]:
    """A ``uint64`` array whose rows of eight words each lie in one cache line."""
    spare = np.empty(words + LANES, np.uint64)
    first = -spare.ctypes.data % (8 * LANES) // 8
    return spare[first : first + words]


@compiled
def _fill(words: NDArray[np.uint32], first: int, rows: int, slab: NDArray[np.uint64]) -> None:
    """Eight blocks of words from ``first`` on become lanes; zeros follow the last word."""
    for row in range(rows):
        for lane in range(LANES):
            at = first + lane * rows + row
            slab[LANES * row + lane] = words[at] if at < len(words) else 0


def _spectra(words: Words, slabs: int, plan: Plan) -> NDArray[np.uint64]:
    """Transforms of blocks of words; block 8 g + l is lane l of slab g."""
    rows, size = 1 << (plan.log - 1), LANES << plan.log
    out = _empty(slabs * size)
    for number in range(slabs):
        slab = out[number * size : (number + 1) * size]
        _fill(words, number * LANES * rows, rows, slab)
        evaluate(slab, plan)
    return out


@compiled
def _gather(slabs: NDArray[np.uint64], size: int, row: int, line: NDArray[np.uint64]) -> None:
    """One row of every slab, side by side."""
    for slab in range(len(slabs) // size):
        for lane in range(LANES):
            line[LANES * slab + lane] = slabs[slab * size + row + lane]


@compiled
def _sums_of_products(
    vector: NDArray[np.uint64],
    blocks: int,
    diagonals: NDArray[np.uint64],
    result: NDArray[np.uint64],
    log: int,
) -> None:
    """At every point, for result block t: sum_b vector[b] diagonals[blocks - 1 + t - b]."""
    size = LANES << log
    factors = np.empty(len(vector) // size * LANES, np.uint64)
    # The last lanes of the result may look beyond the last block, at what is not used.
    window = np.zeros(len(diagonals) // size * LANES + 2 * LANES, np.uint64)
    for row in range(0, size, LANES):
        _gather(vector, size, row, factors)
        _gather(diagonals, size, row, window)
        for slab in range(len(result) // size):
            convolve(
                result, slab * size + row, window, blocks - 1 + LANES * slab, factors, 0, blocks
            )


@compiled
def _block_sums(slabs: NDArray[np.uint64], log: int, out: NDArray[np.uint32]) -> None:
    """Add what overlaps of the products: blocks half by half, coefficients bit by bit."""
    rows = 1 << (log - 1)
    size = 2 * rows * LANES
    for block in range(-(-len(out) // rows)):
        # Products of block t reach over the result's blocks t - 1 and t.
        lower = block // LANES * size + block % LANES
        upper = (block + 1) // LANES * size + (block + 1) % LANES
        before = slabs[lower + LANES * (rows - 1)]
        for row in range(min(rows, len(out) - block * rows)):
            now = slabs[upper + LANES * row] ^ slabs[lower + LANES * (row + rows)]
            # The first of the 63 bits is the top one of the first 32-bit word that they touch.
            out[block * rows + row] = np.uint32((now >> 31) ^ (before << 1) & 0xFFFFFFFF)
            before = now


def toeplitz_product(vector: Words, bits: int, length: int, diagonals: Diagonals) -> Words:
    """Bits of ``T x`` for the Toeplitz matrix with these diagonals.

    Parameters
    ----------
    vector
        uint32 words of x, zero beyond its last bit.
    bits, length
        Columns and rows of T, both at least 1.
    diagonals
        What gives the words of T's diagonals.

    Returns
    -------
    uint32 (ceil(length / 32),); what lies beyond ``length`` in the last word is undefined.
    """
    words = -(-length // WORD_BITS)
    blocks = _cut(-(-bits // WORD_BITS), words)
    how = plan(blocks.log)
    vector_slabs, diagonal_slabs, result_slabs = blocks.slabs
    reach = blocks.vector * blocks.rows
    x = _spectra(vector, vector_slabs, how)
    d = _spectra(diagonals(-reach, reach + blocks.result * blocks.rows), diagonal_slabs, how)
    size = LANES << blocks.log
    y = _empty(result_slabs * size)
    _sums_of_products(x, blocks.vector, d, y, blocks.log)
    for first in range(0, len(y), size):
        interpolate(y[first : first + size], how)
    out = np.empty(words, np.uint32)
    _block_sums(y, blocks.log, out)
    return out
