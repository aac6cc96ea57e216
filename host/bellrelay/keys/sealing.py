"""Sealing: key is written down encrypted under a key-encryption key (KEK), and bound to its place.

A sealed blob is AES-256-GCM with a random nonce of 96 bits::

    1 (version) | length of kek_id | kek_id (UTF-8) | nonce (12 bytes) | ciphertext | tag (16)

and what precedes the nonce is authenticated, with the caller's associated data. Random nonces
are safe for 2^32 blobs under one KEK (NIST SP 800-38D, 8.3); :mod:`.lifecycle` asks for another KEK
long before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

__all__ = [
    "NONCE_BYTES",
    "TAG_BYTES",
    "Keyring",
    "SealBroken",
    "Sealer",
    "SealerError",
    "SealerUnavailable",
    "blob_header",
    "join_blob",
    "split_blob",
]

NONCE_BYTES = 12
TAG_BYTES = 16
_VERSION = 1


class SealerError(Exception):
    """Key cannot be sealed or unsealed. No text of these errors holds any key."""


class SealBroken(SealerError):
    """A blob that was changed, or that belongs to another place; it will never be readable."""


class SealerUnavailable(SealerError):
    """The KEK cannot be used now: its module or file is missing, or refuses."""


class Sealer(Protocol):
    """One KEK; any thread may use it.

    Attributes
    ----------
    kek_id : str
        Names the KEK, and tells nothing of it; at most 255 bytes of UTF-8.
    """

    @property
    def kek_id(self) -> str: ...

    def seal(self, plain: bytearray | bytes, aad: bytes) -> bytes:
        """A blob. SealerUnavailable."""

    def unseal(self, blob: bytes, aad: bytes) -> bytearray:
        """What was sealed, for the caller to wipe. SealBroken, SealerUnavailable."""


def join_blob(kek_id: str, nonce: bytes, ciphertext_and_tag: bytes) -> bytes:
    """The blob."""
    return blob_header(kek_id) + nonce + ciphertext_and_tag


def blob_header(kek_id: str) -> bytes:
    """How blobs under this KEK begin."""
    name = kek_id.encode()
    if not 0 < len(name) <= 255:
        raise ValueError("a kek_id has 1 to 255 bytes")
    return bytes([_VERSION, len(name)]) + name


def split_blob(blob: bytes) -> tuple[str, bytes, bytes]:
    """kek_id, nonce, ciphertext with tag. SealBroken."""
    if len(blob) < 2 or blob[0] != _VERSION:
        raise SealBroken("a sealed blob of no known version")
    end = 2 + blob[1]
    if len(blob) < end + NONCE_BYTES + TAG_BYTES:
        raise SealBroken("a sealed blob that is cut off")
    try:
        kek_id = blob[2:end].decode()
    except UnicodeDecodeError:
        raise SealBroken("a sealed blob whose KEK has no name") from None
    return kek_id, blob[end : end + NONCE_BYTES], blob[end + NONCE_BYTES :]


class Keyring:
    """The KEK that seals, and those before it that still unseal: a sealer, too."""

    def __init__(self, current: Sealer, previous: Iterable[Sealer] = ()) -> None:
        self._current = current
        self._sealers = {sealer.kek_id: sealer for sealer in (*previous, current)}

    @property
    def kek_id(self) -> str:
        """Of the KEK that seals."""
        return self._current.kek_id

    @property
    def kek_ids(self) -> frozenset[str]:
        """Of all KEKs that can unseal."""
        return frozenset(self._sealers)

    def __iter__(self) -> Iterator[Sealer]:
        """All of them."""
        return iter(self._sealers.values())

    def seal(self, plain: bytearray | bytes, aad: bytes) -> bytes:
        """A blob under the current KEK. SealerUnavailable."""
        return self._current.seal(plain, aad)

    def unseal(self, blob: bytes, aad: bytes) -> bytearray:
        """What was sealed under any of them. SealBroken, SealerUnavailable."""
        kek_id, _, _ = split_blob(blob)
        sealer = self._sealers.get(kek_id)
        if sealer is None:
            raise SealerUnavailable(f"sealed under the KEK {kek_id!r}, which is not configured")
        return sealer.unseal(blob, aad)
