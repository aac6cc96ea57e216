"""Privacy amplification: the Toeplitz hash is exact, whatever the sizes, forms and processor."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft

from bellrelay.distill.amplify import (
    ToeplitzStream,
    draw_seed_packed,
    seed_length,
    toeplitz_hash,
    toeplitz_hash_packed,
)

Bits = NDArray[np.uint8]


def random_bits(count: int, seed: int) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


def by_matrix(bits: Bits, seed: Bits, length: int) -> Bits:
    """The law of DESIGN section 9, written down."""
    n = len(bits)
    i, j = np.arange(length)[:, None], np.arange(n)[None, :]
    matrix = seed[(i - j) % max(n + length - 1, 1)] if n and length else np.zeros((length, n))
    return (matrix.astype(np.int64) @ bits.astype(np.int64) % 2).astype(np.uint8)


def by_integers(bits: Bits, seed: Bits, length: int) -> Bits:
    """Another exact way: one product of two long integers, 32 bits for each bit."""
    n = len(bits)
    diagonals = np.concatenate([seed[length:], seed[:length]])
    x, d = (int.from_bytes(array.astype("<u4").tobytes(), "little") for array in (bits, diagonals))
    product = (x * d).to_bytes(4 * (2 * n + length), "little")
    sums = np.frombuffer(product, "<u4")[n - 1 : n - 1 + length]
    return (sums & 1).astype(np.uint8)


def by_floating_point(bits: Bits, seed: Bits, length: int) -> Bits:
    """A third: float64, whose rounding is 1e-9 at these sizes."""
    size = fft.next_fast_len(len(seed), real=True)
    circulant = np.zeros(size)
    circulant[:length] = seed[:length]
    circulant[size - (len(seed) - length) :] = seed[length:]
    padded = np.zeros(size)
    padded[: len(bits)] = bits
    sums = fft.irfft(fft.rfft(circulant) * fft.rfft(padded), size)[:length]
    rounded = np.rint(sums)
    assert np.abs(sums - rounded).max() < 1e-3
    return (rounded.astype(np.int64) & 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("bits", "seed", "expected"),
    [
        # T = [[s0, s3, s2], [s1, s0, s3]]
        ([1, 0, 0], [1, 0, 1, 1], [1, 0]),
        ([0, 1, 0], [1, 0, 1, 1], [1, 1]),
        ([0, 0, 1], [1, 0, 1, 1], [1, 1]),
        ([1, 1, 1], [0, 1, 0, 0], [0, 1]),
        ([1, 1, 1], [0, 0, 1, 0], [1, 0]),
        ([1, 1, 1], [0, 0, 0, 1], [1, 1]),
        # T = [[s0], [s1], [s2]]
        ([1], [0, 1, 1], [0, 1, 1]),
        # T = [[s0, s2, s1]]
        ([1, 1, 0], [0, 1, 1], [1]),
    ],
)
def test_by_hand(bits: list[int], seed: list[int], expected: list[int]) -> None:
    found = toeplitz_hash(np.array(bits, np.uint8), np.array(seed, np.uint8), len(expected))
    assert found.tolist() == expected
    assert found.dtype == np.uint8


def test_packed_by_hand() -> None:
    """First bit on top: n = 9, m = 9, x = e_8 alone, so y_i = seed[(i - 8) mod 17]."""
    seed = [0] * 17
    seed[9] = 1  # y_0
    seed[0] = 1  # y_8
    found = toeplitz_hash_packed(b"\x00\x80", 9, bytes([0b10000000, 0b01000000, 0]), 9)
    assert toeplitz_hash(np.array([0] * 8 + [1], np.uint8), np.array(seed, np.uint8), 9)[0] == 1
    assert found.tolist() == [0b10000000, 0b10000000]


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("length", range(0, 12))
def test_every_small_size(n: int, length: int) -> None:
    """Every unit vector and every unit seed: by linearity that is every input of these sizes."""
    total = n + length - 1
    for j in range(n):
        bits = np.zeros(n, np.uint8)
        bits[j] = 1
        for k in range(total):
            seed = np.zeros(total, np.uint8)
            seed[k] = 1
            assert (toeplitz_hash(bits, seed, length) == by_matrix(bits, seed, length)).all()


@settings(max_examples=200, deadline=None)
@given(n=st.integers(0, 700), length=st.integers(0, 700), random=st.integers(0, 2**32))
def test_equals_the_matrix(n: int, length: int, random: int) -> None:
    bits, seed = random_bits(n, random), random_bits(seed_length(n, length), random + 1)
    expected = by_matrix(bits, seed, length)
    assert (toeplitz_hash(bits, seed, length) == expected).all()
    packed = toeplitz_hash_packed(np.packbits(bits), n, np.packbits(seed), length)
    assert (packed == np.packbits(expected)).all()


@pytest.mark.parametrize(
    ("n", "length"), [(5000, 2500), (20_000, 9_999), (20_001, 12_345), (300, 20_000), (20_000, 17)]
)
def test_equals_a_product_of_integers(n: int, length: int) -> None:
    bits, seed = random_bits(n, n), random_bits(n + length - 1, length)
    assert (toeplitz_hash(bits, seed, length) == by_integers(bits, seed, length)).all()


def test_all_ones_do_not_overflow() -> None:
    n, length = 70_000, 40_001
    ones = np.ones(n, np.uint8), np.ones(n + length - 1, np.uint8)
    assert (toeplitz_hash(*ones, length) == n % 2).all()


@pytest.mark.parametrize(("n", "length"), [(100_000, 50_000), (1_000_003, 499_979)])
def test_equals_floating_point(n: int, length: int) -> None:
    bits, seed = random_bits(n, 1), random_bits(n + length - 1, 2)
    assert (toeplitz_hash(bits, seed, length) == by_floating_point(bits, seed, length)).all()


@pytest.mark.soak
def test_ten_million() -> None:
    n, length = 10_000_000, 5_000_000
    bits, seed = random_bits(n, 1), random_bits(n + length - 1, 2)
    tracemalloc.start()
    found = toeplitz_hash(bits, seed, length)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert (found == by_floating_point(bits, seed, length)).all()
    rng = np.random.default_rng(3)
    for i in rng.integers(0, length, 30):
        row = seed[(i - np.arange(n)) % len(seed)]
        assert found[i] == np.count_nonzero(row & bits) % 2


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 3000), length=st.integers(1, 3000), random=st.integers(0, 2**32))
def test_linear_in_bits_and_in_the_seed(n: int, length: int, random: int) -> None:
    total = n + length - 1
    bits, others = random_bits(n, random), random_bits(n, random + 1)
    seed, another = random_bits(total, random + 2), random_bits(total, random + 3)
    hashed = toeplitz_hash(bits, seed, length)
    assert (
        toeplitz_hash(bits ^ others, seed, length) == hashed ^ toeplitz_hash(others, seed, length)
    ).all()
    assert (
        toeplitz_hash(bits, seed ^ another, length) == hashed ^ toeplitz_hash(bits, another, length)
    ).all()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 3000),
    length=st.integers(0, 2000),
    tile=st.integers(1, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    random=st.integers(0, 2**32),
)
def test_stream_equals_direct(n: int, length: int, tile: int, cuts: list[int], random: int) -> None:
    bits, seed = random_bits(n, random), random_bits(seed_length(n, length), random + 1)
    packed = np.packbits(seed).tobytes()

    def read_seed(first: int, count: int) -> bytes:
        assert first >= 0
        assert count > 0
        assert first + count <= len(packed)
        return packed[first : first + count]

    stream = ToeplitzStream(n, length, read_seed, tile=tile)
    for part in np.split(bits, sorted(cut for cut in cuts if cut <= n)):
        stream.update(part)
    assert (stream.finish() == toeplitz_hash(bits, seed, length)).all()


def test_stream_is_bounded_by_its_tile() -> None:
    """What is asked of the seed at a time is of the order of a tile, not of the block."""
    n, length, tile = 400_000, 150_000, 32_768
    bits, seed = random_bits(n, 5), random_bits(n + length - 1, 6)
    packed = np.packbits(seed)
    asked = []

    def read_seed(first: int, count: int) -> Bits:
        asked.append(count)
        return packed[first : first + count]

    stream = ToeplitzStream(n, length, read_seed, tile=tile)
    for first in range(0, n, 10_000):
        stream.update(bits[first : first + 10_000])
    assert (stream.finish() == toeplitz_hash(bits, seed, length)).all()
    assert max(asked) <= 4 * tile // 8


def test_a_stream_counts_its_bits() -> None:
    stream = ToeplitzStream(100, 10, lambda first, count: bytes(count))
    stream.update(random_bits(60, 1))
    with pytest.raises(ValueError, match="40 bits of the block are missing"):
        stream.finish()
    with pytest.raises(ValueError, match="more than the 100 bits"):
        stream.update(random_bits(41, 1))
    stream.update(random_bits(40, 1))
    assert not stream.finish().any()


def test_no_length_no_key() -> None:
    """Rule 18: nothing comes of a length of 0, in every form."""
    bits, seed = random_bits(100, 1), random_bits(99, 2)
    assert toeplitz_hash(bits, seed, 0).shape == (0,)
    assert toeplitz_hash_packed(np.packbits(bits), 100, np.packbits(seed), 0).shape == (0,)


def test_rule_18_the_output_is_no_bit_longer_than_asked() -> None:
    """The bits that fill up the last byte carry nothing of the key, though the block has more."""
    n = 4000
    bits = np.packbits(random_bits(n, 1))
    for length in range(1, 18):
        seed = draw_seed_packed(n, length)
        found = toeplitz_hash_packed(bits, n, seed, length)
        assert len(found) == -(-length // 8)
        assert not np.unpackbits(found)[length:].any()
        longer = toeplitz_hash_packed(bits, n, draw_seed_packed(n, 32), 32)
        assert np.unpackbits(longer)[17:].any()


def test_rule_18_a_seed_is_fresh_and_of_full_length() -> None:
    first, second = (
        np.unpackbits(np.frombuffer(draw_seed_packed(4000, 97), np.uint8)) for _ in "ab"
    )
    assert len(first) == 4096
    assert not np.unpackbits(np.frombuffer(draw_seed_packed(8, 2), np.uint8))[9:].any()
    assert 1500 < np.count_nonzero(first ^ second) < 2600


def test_rule_18_a_part_of_a_block_is_not_the_hash_of_the_block() -> None:
    """Every bit of the block enters: flipping any one bit changes the key for some seed."""
    n, length = 200, 50
    seed = random_bits(n + length - 1, 9)
    bits = random_bits(n, 10)
    key = toeplitz_hash(bits, seed, length)
    for j in range(n):
        flipped = bits.copy()
        flipped[j] ^= 1
        assert (toeplitz_hash(flipped, seed, length) != key).any()


def test_bits_that_fill_up_the_last_byte_of_an_input_are_not_used() -> None:
    n, length = 13, 6
    bits, seed = random_bits(n, 1), random_bits(n + length - 1, 2)
    bits_packed, seed_packed = np.packbits(bits), np.packbits(seed)
    expected = toeplitz_hash_packed(bits_packed, n, seed_packed, length)
    bits_packed[-1] |= 0b111
    seed_packed[-1] |= 0b111111
    given = bits_packed.copy()
    assert (toeplitz_hash_packed(bits_packed, n, seed_packed, length) == expected).all()
    assert (bits_packed == given).all()


@pytest.mark.parametrize(
    ("bits", "seed", "length", "error"),
    [
        (np.zeros(5, np.uint8), np.zeros(6, np.uint8), 3, ValueError),
        (np.zeros(5, np.uint8), np.zeros(8, np.uint8), 3, ValueError),
        (np.zeros(5, np.uint8), np.zeros(4, np.uint8), -1, ValueError),
        (np.zeros(5, np.uint8), np.zeros(7, np.uint8), 3.0, TypeError),
        (np.full(5, 2, np.uint8), np.zeros(7, np.uint8), 3, ValueError),
        (np.zeros(5, np.uint8), np.full(7, 255, np.uint8), 3, ValueError),
        (np.zeros(5, np.int64), np.zeros(7, np.uint8), 3, TypeError),
        (np.zeros(5, np.uint8), np.zeros(7, bool), 3, TypeError),
        (np.zeros((5, 1), np.uint8), np.zeros(7, np.uint8), 3, ValueError),
    ],
)
def test_what_is_refused(bits: Bits, seed: Bits, length: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        toeplitz_hash(bits, seed, length)


@pytest.mark.parametrize(
    ("bits", "n", "seed", "length"),
    [(b"\0", 9, b"\0\0", 3), (b"\0\0", 9, b"\0", 3), (b"\0\0\0", 9, b"\0\0", 3), (b"", -1, b"", 1)],
)
def test_what_is_refused_packed(bits: bytes, n: int, seed: bytes, length: int) -> None:
    with pytest.raises(ValueError):
        toeplitz_hash_packed(bits, n, seed, length)


_DIGEST = """
import hashlib
import numpy as np
from bellrelay.distill.amplify import toeplitz_hash
from bellrelay.distill.carryless import UNIT
digest = hashlib.sha256()
rng = np.random.default_rng(1)
for n, m in [(1, 1), (33, 65), (5000, 2500), (100_000, 50_000)]:
    bits, seed = (rng.integers(0, 2, k, dtype=np.uint8) for k in (n, n + m - 1))
    digest.update(toeplitz_hash(bits, seed, m).tobytes())
print(UNIT, digest.hexdigest())
"""


def test_any_processor_gives_the_same_key() -> None:
    """Compiled for a processor without a carry-less multiplier, and for this one."""
    found = {}
    for name in ("generic", ""):
        environment = {**os.environ, "NUMBA_CPU_NAME": name} if name else dict(os.environ)
        command = [sys.executable, "-c", _DIGEST]
        unit, digest = subprocess.check_output(command, env=environment, text=True).split()
        found[name] = digest
        if name == "generic":
            assert unit == "portable"
    assert found["generic"] == found[""]
