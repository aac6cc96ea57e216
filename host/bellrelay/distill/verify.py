"""Verification: a short tag by which Alice and Bob learn whether their corrected bits are equal.

The hash is Poly1305 without its pad. Let p = 2^130 - 5 and let m_1 ... m_q be the 16-byte pieces of
the message, each with a bit 1 set above its top byte, read as little-endian integers; then

    H_r(m) = (m_1 r^q + m_2 r^(q-1) + ... + m_q r  mod p)  mod 2^128.

Bound. For two different messages of at most q pieces, and r uniform on the 2^106 clamped values,

    Pr[H_r(m) = H_r(m')] <= 8 q / 2^106.

Proof. The pieces are never 0 and below p, so that different messages give different polynomials
without constant term and of degree at most q. Equal tags mean that m(r) - m'(r), an integer between
-(p - 1) and p - 1, is a multiple of 2^128: one of at most 7 values (D. J. Bernstein, FSE 2005,
Theorem 3.3, allows for any difference of tags and has 8). For each value the non-zero polynomial
m - m' - value has at most q roots modulo p, and r is each of them with probability at most 2^-106.

The message holds the number of bits before the packed bits, so that different bits, of one length
or of two, are different messages. A CRC or a hash without a key has no such bound: for either there
are pairs that always collide, and an adversary chooses the error pattern.

The key. It is uniform, drawn by one side after both have fixed their bits, sent in the clear, and
used for one pair of strings. The bound is over the key with the strings given: a key that is known
before, or used again after a verdict on it became known, lets errors be chosen to pass. What tells
Eve about Alice's string is the tag, not the key: count `TAG_BITS` once per block, whoever sends it.
The verdict is public. Where secrecy is stated for the sub-normalised state of the blocks that pass,
as the leftover hash lemma gives it, that costs no further bit (T. Tsurumaru, A. Mizutani and
T. Sasaki, arXiv:2507.21416); a block that fails ends without a key.
"""

from __future__ import annotations

import hmac
import secrets

import numpy as np
from cryptography.hazmat.primitives.poly1305 import Poly1305
from numpy.typing import NDArray

__all__ = [
    "KEY_BYTES",
    "TAG_BITS",
    "new_verification_key",
    "tags_equal",
    "verification_epsilon",
    "verification_tag",
]

KEY_BYTES = 16
"""Length of a key: r, of which clamping leaves 106 bits."""

TAG_BITS = 128
"""Bits that a tag discloses about the string."""

_LENGTH_BYTES = 8
_PIECE_BYTES = 16


def new_verification_key() -> bytes:
    """Draw a fresh key; only after both sides have fixed their bits."""
    return secrets.token_bytes(KEY_BYTES)


def verification_tag(bits: NDArray[np.uint8], key: bytes) -> bytes:
    """Hash bits with a public key that was drawn after them.

    Parameters
    ----------
    bits
        (n,) uint8 of 0 and 1, n from 0 up.
    key
        `KEY_BYTES` bytes from `new_verification_key`, used for no other block.

    Returns
    -------
    Tag of `TAG_BITS` / 8 bytes.

    Raises
    ------
    ValueError
        The key has another length, or bits is no array of 0 and 1.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a verification key has {KEY_BYTES} bytes, not {len(key)}")
    if bits.dtype != np.uint8 or bits.ndim != 1 or (bits.size and int(bits.max()) > 1):
        raise ValueError("bits must be a one-dimensional uint8 array of 0 and 1")
    # The pad s = 0: a tag that is published with its key hides nothing.
    mac = Poly1305(key + bytes(_PIECE_BYTES))
    mac.update(bits.size.to_bytes(_LENGTH_BYTES, "little"))
    mac.update(np.packbits(bits).data)
    return mac.finalize()


def tags_equal(tag: bytes, other: bytes) -> bool:
    """Whether two tags are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(tag, other)


def verification_epsilon(n_bits: int) -> float:
    """Largest probability, over the key, that two different strings have the same tag.

    Parameters
    ----------
    n_bits
        Length of the longer string, 0 or more.
    """
    if n_bits < 0:
        raise ValueError("n_bits must not be negative")
    message_bytes = _LENGTH_BYTES + -(-n_bits // 8)
    pieces = -(-message_bytes // _PIECE_BYTES)
    return float(np.ldexp(8.0 * pieces, -106))
