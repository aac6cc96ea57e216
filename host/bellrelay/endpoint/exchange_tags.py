"""Tags over exchanges: one-time keys from the pool, over everything that was said and heard."""

from __future__ import annotations

import hmac
import struct
from typing import Protocol

from cryptography.hazmat.primitives.poly1305 import Poly1305

__all__ = ["ExchangeTags", "TagKeys", "TagRefused", "one_time_tag"]


class TagRefused(Exception):
    """A tag that does not fit what was said."""


class TagKeys(Protocol):
    """One-time keys of tags, each given out once whatever happens to this process: the key pool."""

    def draw(self) -> tuple[int, bytes]:
        """The next key for a tag of ours: where it begins in the pool, and the key.

        Raises
        ------
        KeyPoolDry
        """
        ...

    def take(self, index: int) -> bytes:
        """The key that the peer has used there, once.

        Raises
        ------
        KeyRefused, KeyPoolDry
        """
        ...


def one_time_tag(key: bytes, message: bytes) -> bytes:
    """Poly1305 under a key of 32 bytes that is used for this message alone."""
    return Poly1305.generate_tag(key, message)


class ExchangeTags:
    """The transcript of one exchange, and its tags.

    Parameters
    ----------
    keys
        Of the pool.
    context
        Who, what and in which session: the same on both sides, of no other exchange.
    is_alice
        Which side we are.
    """

    def __init__(self, keys: TagKeys, context: bytes, is_alice: bool) -> None:
        self._keys = keys
        self._is_alice = is_alice
        self._parts: list[bytes] = []
        self.known(context)

    def known(self, data: bytes) -> None:
        """What both know besides."""
        self._add(b"K", data)

    def said(self, data: bytes) -> None:
        """We have said this."""
        self._add(b"A" if self._is_alice else b"B", data)

    def heard(self, data: bytes) -> None:
        """The peer has said this."""
        self._add(b"B" if self._is_alice else b"A", data)

    def _add(self, who: bytes, data: bytes) -> None:
        self._parts += (who, struct.pack("<Q", len(data)), data)

    def vouch(self) -> tuple[int, bytes]:
        """Our tag over the exchange so far, and where its key begins."""
        index, key = self._keys.draw()
        return index, one_time_tag(key, self._text(self._is_alice))

    def check(self, index: int, tag: bytes) -> None:
        """Take the peer's tag over the exchange so far.

        Raises
        ------
        TagRefused
            It is the tag of something else.
        KeyRefused, KeyPoolDry
        """
        expected = one_time_tag(self._keys.take(index), self._text(not self._is_alice))
        if not hmac.compare_digest(expected, tag):
            raise TagRefused("the tag does not fit what was said")

    def _text(self, by_alice: bool) -> bytes:
        return b"".join((b"A" if by_alice else b"B", *self._parts))
