"""Tags over exchanges: one-time keys from the pool, over everything that was said and heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bellrelay.distill.authenticate import (
    Forgery,
    OneTimeKey,
    Transcript,
    check,
    longest_transcript,
    seal,
)
from bellrelay.distill.reconcile.engine import Role

__all__ = ["TAGS_PER_BLOCK", "ExchangeTags", "TagKeys", "TagRefused", "peer_of"]

TAGS_PER_BLOCK = 4
"""Of each side: Alice's of commit, sift, reconcile and verdict; Bob's of amplify instead."""


class TagRefused(Exception):
    """A tag that does not fit what was said, or that would bind too much to be trusted."""


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


def peer_of(role: Role) -> Role:
    """The other one."""
    return Role.BOB if role is Role.ALICE else Role.ALICE


class ExchangeTags:
    """The transcript of one exchange, and its tags.

    Parameters
    ----------
    keys
        Of the pool.
    context
        Who, which block, which session.
    known
        What both must have alike besides.
    exchange
        Its number.
    role
        Which side we are.
    epsilon
        Probability that any forgery about the block passes: the transcript must be short enough.
    """

    def __init__(
        self,
        keys: TagKeys,
        context: bytes,
        exchange: int,
        role: Role,
        epsilon: float,
        known: Sequence[bytes] = (),
    ) -> None:
        self._keys = keys
        self._role = role
        self._transcript = Transcript(context, exchange, known)
        self._longest = longest_transcript(epsilon, 2 * TAGS_PER_BLOCK)

    def said(self, message: bytes) -> None:
        """We have said this."""
        self._transcript.add(self._role, message)

    def heard(self, message: bytes) -> None:
        """The peer has said this."""
        self._transcript.add(peer_of(self._role), message)

    def vouch(self) -> tuple[int, bytes]:
        """Our tag over the exchange so far, and where its key begins.

        Raises
        ------
        TagRefused, KeyPoolDry
        """
        self._require_short()
        index, key = self._keys.draw()
        return index, seal(OneTimeKey(key), self._transcript, self._role)

    def check(self, index: int, tag: bytes) -> None:
        """Take the peer's tag over the exchange so far.

        Raises
        ------
        TagRefused, KeyRefused, KeyPoolDry
        """
        self._require_short()
        key = OneTimeKey(self._keys.take(index))
        try:
            check(key, self._transcript, peer_of(self._role), tag)
        except Forgery as forgery:
            raise TagRefused(str(forgery)) from None

    def _require_short(self) -> None:
        if len(self._transcript) > self._longest:
            raise TagRefused("too much was said for the epsilon of authentication")
