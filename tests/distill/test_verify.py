"""Verification: the tag is the hash that its bound is about, and the bound holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.distill.verify import (
    KEY_BYTES,
    TAG_BITS,
    new_verification_key,
    tags_equal,
    verification_epsilon,
    verification_tag,
)

BITS = st.lists(st.integers(0, 1), max_size=300).map(lambda b: np.array(b, np.uint8))
KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


def pieces_of(message: bytes) -> list[int]:
    """The integers of which the hash takes a polynomial."""
    return [
        int.from_bytes(message[i : i + 16] + b"\x01", "little") for i in range(0, len(message), 16)
    ]


def polynomial(pieces: list[int], r: int, p: int) -> int:
    value = 0
    for piece in pieces:
        value = (value + piece) * r % p
    return value


def plain_tag(bits: NDArray[np.uint8], key: bytes) -> bytes:
    """The formula of the docstring, in integers."""
    digits = "".join(map(str, bits.tolist()))
    digits += "0" * (-len(digits) % 8)
    packed = bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    message = len(bits).to_bytes(8, "little") + packed
    r = int.from_bytes(key, "little") & CLAMP
    value = polynomial(pieces_of(message), r, (1 << 130) - 5) % (1 << 128)
    return value.to_bytes(16, "little")


@given(BITS, KEYS)
def test_tag_is_the_polynomial_of_the_docstring(bits: NDArray[np.uint8], key: bytes) -> None:
    tag = verification_tag(bits, key)
    assert 8 * len(tag) == TAG_BITS
    assert tag == plain_tag(bits, key)


def test_clamped_keys_number_as_the_bound_says() -> None:
    assert CLAMP.bit_count() == 106


@given(BITS, st.data())
def test_one_wrong_bit_changes_the_tag(bits: NDArray[np.uint8], data: st.DataObject) -> None:
    if not bits.size:
        return
    other = bits.copy()
    other[data.draw(st.integers(0, bits.size - 1))] ^= 1
    key = new_verification_key()
    assert not tags_equal(verification_tag(bits, key), verification_tag(other, key))


@given(st.integers(0, 200), st.integers(1, 64))
def test_length_is_hashed_too(n: int, more: int) -> None:
    key = new_verification_key()
    short, long = np.zeros(n, np.uint8), np.zeros(n + more, np.uint8)
    assert verification_tag(short, key) != verification_tag(long, key)


def test_key_zero_passes_everything_of_one_length() -> None:
    # Why a key is drawn at random and never chosen: r = 0 is one of the keys that the bound counts.
    a, b = np.zeros(100, np.uint8), np.ones(100, np.uint8)
    assert verification_tag(a, bytes(KEY_BYTES)) == verification_tag(b, bytes(KEY_BYTES))


def test_a_known_key_lets_errors_be_chosen_that_pass() -> None:
    # Two pieces m_1, m_2 hash to m_1 r^2 + m_2 r: with r known, raise m_1 by 1, lower m_2 by r.
    # A small r keeps all in range. This is what a key drawn too early, or used twice, allows.
    r = 4 << 32
    key = r.to_bytes(16, "little")
    # The first piece holds the length and 8 bytes of bits; bit 2^64 of it is byte 8's lowest.
    n = 8 * 24
    first = np.zeros(8, np.uint8)
    second = (r << 64).to_bytes(16, "little")
    a = np.concatenate([np.unpackbits(first), np.unpackbits(np.frombuffer(second, np.uint8))])
    first[0] = 1
    b = np.concatenate([np.unpackbits(first), np.zeros(128, np.uint8)])
    assert a.size == b.size == n
    assert not np.array_equal(a, b)
    assert verification_tag(a, key) == verification_tag(b, key)
    assert verification_tag(a, new_verification_key()) != verification_tag(
        b, new_verification_key()
    )


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_bound_holds_in_a_small_field_for_every_pair_that_was_tried(pieces: int) -> None:
    # The same construction with p = 2^10 - 3, tags of 8 bits and every r: as 2^130 - 5 is to 2^128.
    p, tag = (1 << 10) - 3, 1 << 8
    rng = np.random.default_rng(pieces)
    worst = 0
    for _ in range(60):
        m = rng.integers(1 << 8, 1 << 9, pieces).tolist()
        # Differences with many roots: the product of (x - root), times x.
        roots = rng.integers(1, p, pieces - 1).tolist()
        coefficients = [1]
        for root in roots:
            coefficients = [
                (a - root * b) % p
                for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)
            ]
        other = [(x + c) % p for x, c in zip(m, coefficients, strict=True)]
        hits = sum(polynomial(m, r, p) % tag == polynomial(other, r, p) % tag for r in range(p))
        worst = max(worst, hits)
        assert hits <= 8 * pieces
    assert worst >= pieces  # the roots were there: the count can reach what it is held against


def test_epsilon() -> None:
    assert verification_epsilon(0) == 8 / 2**106
    assert verification_epsilon(64) == 8 / 2**106
    assert verification_epsilon(65) == 16 / 2**106
    assert verification_epsilon(10**9) < 1e-15
    with pytest.raises(ValueError, match="negative"):
        verification_epsilon(-1)


def test_refuses_what_is_no_string_of_bits() -> None:
    key = new_verification_key()
    for bits in (np.zeros(4), np.zeros((2, 2), np.uint8), np.full(4, 2, np.uint8)):
        with pytest.raises(ValueError, match="0 and 1"):
            verification_tag(bits, key)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="16 bytes"):
        verification_tag(np.zeros(4, np.uint8), key + b"x")


def test_keys_are_fresh() -> None:
    assert len({new_verification_key() for _ in range(100)}) == 100
