"""Privacy amplification: the Toeplitz hash that makes a short secret key of a long corrected one.

``y = T x`` over GF(2) with ``T[i][j] = seed[(i - j) mod (n + m - 1)]``: a 2-universal family
(H. Krawczyk, CRYPTO 1994), so that the leftover hash lemma applies with a seed that is uniform
and independent of x. The seed is public, of n + m - 1 bits, drawn once the corrected key is fixed,
and never used again. The whole block is hashed at once: a part of it has no bound of its own.

Every result is exact: products of polynomials over GF(2^64), no floating point.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from .gf2_toeplitz import WORD_BITS, Words, toeplitz_product

__all__ = [
    "ToeplitzStream",
    "draw_seed_packed",
    "seed_length",
    "toeplitz_hash",
    "toeplitz_hash_packed",
]

Bits = NDArray[np.uint8]
# (first byte, number of bytes) -> that part of the packed seed.
SeedReader = Callable[[int, int], "bytes | bytearray | memoryview | Bits"]


def seed_length(n: int, length: int) -> int:
    """Bits of the seed that hashes n bits to ``length``.

    Raises
    ------
    ValueError
        ``n`` or ``length`` is negative or no whole number.
    """
    return max(_count(n, "n") + _count(length, "length") - 1, 0)


def draw_seed_packed(n: int, length: int) -> bytes:
    """A fresh seed from the operating system's generator, packed; what fills it up is 0."""
    count = seed_length(n, length)
    drawn = bytearray(secrets.token_bytes(-(-count // 8)))
    if count % 8:
        drawn[-1] &= 0xFF << (8 - count % 8) & 0xFF
    return bytes(drawn)


def toeplitz_hash(bits: Bits, seed: Bits, length: int) -> Bits:
    """``y = T x`` mod 2.

    Parameters
    ----------
    bits
        uint8 (n,), x: 0 and 1.
    seed
        uint8 (n + length - 1,), 0 and 1.
    length
        Number m of bits of the result, whole: rounding down is the caller's, as rounding up is
        wrong. 0 gives none. More than n is not refused, though no security proof asks for it.

    Returns
    -------
    uint8 (m,).

    Raises
    ------
    ValueError
        A length does not match, or a value is neither 0 nor 1.
    TypeError
        An array is not uint8, or ``length`` is no whole number.
    """
    _check_bits(bits, "bits")
    _check_bits(seed, "seed")
    length = _count(length, "length")
    if len(seed) != seed_length(len(bits), length):
        raise ValueError(
            f"{len(bits)} bits to {length} take a seed of {seed_length(len(bits), length)} bits, "
            f"not {len(seed)}"
        )
    packed = _hash(np.packbits(bits), len(bits), np.packbits(seed), length)
    return np.unpackbits(packed, count=length)


def toeplitz_hash_packed(
    bits_packed: Bits | bytes, n: int, seed_packed: Bits | bytes, length: int
) -> Bits:
    """:func:`toeplitz_hash` of packed bits, first bit on top.

    Parameters
    ----------
    bits_packed
        uint8 (ceil(n / 8),) or bytes: n bits. What follows the n-th in the last byte is not used.
    n
        Number of bits.
    seed_packed
        uint8 (ceil((n + length - 1) / 8),) or bytes.
    length
        Number of bits of the result.

    Returns
    -------
    uint8 (ceil(length / 8),); the bits that fill up the last byte are 0.

    Raises
    ------
    ValueError
        A length does not match.
    TypeError
        An array is not uint8, or a length is no whole number.
    """
    n, length = _count(n, "n"), _count(length, "length")
    bits_packed = _packed(bits_packed, n, "bits")
    seed_packed = _packed(seed_packed, seed_length(n, length), "seed")
    return _hash(bits_packed, n, seed_packed, length)


class ToeplitzStream:
    """:func:`toeplitz_hash` of a block that comes in pieces, with a seed read in pieces.

    The block is cut along its bits, each part hashed by its own columns of T, and the results are
    added. Memory: the result, and about ``2 * tile`` bytes.

    Parameters
    ----------
    n
        Bits of the whole block.
    length
        Bits of the result.
    read_seed
        ``read_seed(first, count)`` gives ``count`` bytes of the packed seed from byte ``first`` on;
        parts are asked for in no order, and again.
    tile
        Bits of block and of result that are worked on at a time. Time grows as
        ``n * length / tile`` where the result is longer than a tile.

    Raises
    ------
    ValueError, TypeError
        As :func:`toeplitz_hash`.
    """

    def __init__(self, n: int, length: int, read_seed: SeedReader, *, tile: int = 1 << 25) -> None:
        self._n, self._length = _count(n, "n"), _count(length, "length")
        self._seed_bits = seed_length(n, length)
        self._read_seed = read_seed
        self._tile = -(-max(_count(tile, "tile"), 1) // WORD_BITS) * WORD_BITS
        self._result = np.zeros(-(-self._length // WORD_BITS), np.uint32)
        self._waiting = np.empty(min(self._tile, self._n), np.uint8)
        self._held = 0
        self._hashed = 0

    def update(self, bits: Bits) -> None:
        """The next bits of the block, uint8 (any number,)."""
        _check_bits(bits, "bits")
        if self._hashed + self._held + len(bits) > self._n:
            raise ValueError(f"more than the {self._n} bits that the block has")
        while len(bits):
            taken = bits[: len(self._waiting) - self._held]
            self._waiting[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            bits = bits[len(taken) :]
            if self._held == len(self._waiting):
                self._hash_waiting()

    def finish_packed(self) -> Bits:
        """The result, packed, uint8 (ceil(length / 8),), the bits that fill it up 0.

        Raises
        ------
        ValueError
            Bits of the block are missing.
        """
        if self._hashed + self._held != self._n:
            missing = self._n - self._hashed - self._held
            raise ValueError(f"{missing} bits of the block are missing")
        self._hash_waiting()
        return _packed_result(self._result, self._length)

    def finish(self) -> Bits:
        """The result, uint8 (length,)."""
        return np.unpackbits(self.finish_packed(), count=self._length)

    def _hash_waiting(self) -> None:
        if self._held == 0:
            return
        vector = _words(np.packbits(self._waiting[: self._held]))
        for first in range(0, self._length, self._tile):
            rows = min(self._tile, self._length - first)
            diagonals = _SeedDiagonals(self._read_seed, self._seed_bits, first - self._hashed)
            part = toeplitz_product(vector, self._held, rows, diagonals)
            begin = first // WORD_BITS
            self._result[begin : begin + len(part)] ^= part
        self._hashed += self._held
        self._held = 0
        self._waiting[:] = 0


class _SeedDiagonals:
    """Diagonals of a part of T: word w begins at ``i - j = 32 w + origin`` of the whole.

    ``origin`` is a multiple of 32, so that no word begins before the main diagonal and ends after.
    """

    def __init__(self, read_seed: SeedReader, seed_bits: int, origin: int) -> None:
        self._read_seed = read_seed
        self._seed_bits = seed_bits
        self._origin = origin

    def __call__(self, first: int, count: int) -> Words:
        out = np.zeros(count, np.uint32)
        begin = WORD_BITS * first + self._origin
        before = min(max(-begin // WORD_BITS, 0), count)
        self._fill(out[:before], begin + self._seed_bits)
        self._fill(out[before:], begin + WORD_BITS * before)
        return out

    def _fill(self, out: Words, position: int) -> None:
        """Bits of the seed from ``position`` on; zeros where there are none."""
        skipped = min(max(-position // WORD_BITS, 0), len(out))
        out, position = out[skipped:], position + WORD_BITS * skipped
        end = min(position + WORD_BITS * len(out), self._seed_bits)
        if end <= position:
            return
        first_byte = max(position, 0) // 8
        part = self._read_seed(first_byte, -(-end // 8) - first_byte)
        words = _words(np.frombuffer(part, np.uint8))
        _shift_copy(words, position - 8 * first_byte, out)


@compiled
def _shift_copy(words: NDArray[np.uint32], position: int, out: NDArray[np.uint32]) -> None:
    """Words of the bits from ``position`` on, -31 at least; zeros before and after the words."""
    by = position % 32
    first = (position - by) // 32
    for i in range(len(out)):
        at = first + i
        high = np.uint64(words[at]) if 0 <= at < len(words) else np.uint64(0)
        low = np.uint64(words[at + 1]) if 0 <= at + 1 < len(words) else np.uint64(0)
        out[i] = np.uint32((((high << 32) | low) >> (32 - by)) & 0xFFFFFFFF)


def _hash(bits_packed: Bits, n: int, seed_packed: Bits, length: int) -> Bits:
    if n == 0 or length == 0:
        return np.zeros(-(-length // 8), np.uint8)
    diagonals = _SeedDiagonals(
        lambda first, count: seed_packed[first : first + count], seed_length(n, length), 0
    )
    result = toeplitz_product(_words(bits_packed), n, length, diagonals)
    return _packed_result(result, length)


def _words(packed: Bits) -> Words:
    """Packed bits as words, first bit on top; zeros fill the last."""
    padded = np.zeros(-(-len(packed) // 4) * 4, np.uint8)
    padded[: len(packed)] = packed
    return padded.view(">u4").astype(np.uint32)


def _packed_result(words: Words, length: int) -> Bits:
    packed = words.astype(">u4").view(np.uint8)[: -(-length // 8)].copy()
    if length % 8:
        packed[-1] &= 0xFF << (8 - length % 8) & 0xFF
    return packed


def _count(value: int, name: str) -> int:
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"{name} is negative")
    return number


def _check_bits(bits: Bits, name: str) -> None:
    if bits.dtype != np.uint8:
        raise TypeError(f"{name} is {bits.dtype}, not uint8")
    if bits.ndim != 1:
        raise ValueError(f"{name} has shape {bits.shape}, not one dimension")
    if bits.size and int(bits.max()) > 1:
        raise ValueError(f"{name} holds something other than 0 and 1")


def _packed(packed: Bits | bytes, count: int, name: str) -> Bits:
    array = np.frombuffer(packed, np.uint8) if isinstance(packed, bytes) else packed
    if array.dtype != np.uint8:
        raise TypeError(f"{name} is {array.dtype}, not uint8")
    if array.shape != (-(-count // 8),):
        raise ValueError(f"{count} {name} are not packed in {array.shape} bytes")
    array = array.copy()
    if count % 8:
        array[-1] &= 0xFF << (8 - count % 8) & 0xFF
    return array
