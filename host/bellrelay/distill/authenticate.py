"""Authentication of what two endpoints say: a one-time tag on the transcript of an exchange.

A tag is Poly1305 under a key (r, s) of 32 bytes that is uniform, secret and used for this tag
alone: a universal hash of the transcript, encrypted with the one-time pad s (M. Wegman, L. Carter,
J. Comput. Syst. Sci. 22, 265 (1981); D. Bernstein, FSE 2005). No computational assumption enters,
and no transcript is hashed by anything else on its way. Of r 22 bits are cleared, which
:func:`forgery_probability` takes into account.

Everything is pure: keys come from the key pool, which gives each of them out once.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.poly1305 import Poly1305

from .reconcile.engine import Role

__all__ = [
    "KEY_BYTES",
    "TAG_BYTES",
    "Forgery",
    "KeyUsedTwice",
    "OneTimeKey",
    "Transcript",
    "check",
    "forgery_probability",
    "longest_transcript",
    "seal",
]

KEY_BYTES = 32
TAG_BYTES = 16
_BLOCK_BYTES = 16
# Bits of r that are left free, of 128.
_FREE_BITS_OF_R = 106
_SIGNER = {Role.ALICE: b"A", Role.BOB: b"B"}
_FORMAT = b"bellrelay transcript 2"


class Forgery(Exception):
    """The tag does not fit the transcript: what was said is not what was heard."""


class KeyUsedTwice(Exception):
    """A one-time key was asked for a second time."""


def forgery_probability(n_bytes: int, attempts: int = 1) -> float:
    """Bound on the probability that any of some forged transcripts is accepted.

    Two transcripts of at most L bytes have any given difference of hashes with probability at most
    8 ceil(L / 16) / 2^106 over r (Bernstein, theorem 3.3), and s hides all hashes: whether or not
    the attacker has seen the tag of another transcript, this bounds every attempt.

    Parameters
    ----------
    n_bytes
        Length of the longest transcript that would be checked, whoever wrote it.
    attempts
        Number of transcripts that are checked.

    Raises
    ------
    ValueError
        A number is negative.
    """
    if n_bytes < 0 or attempts < 0:
        raise ValueError("lengths and numbers of attempts are not negative")
    blocks = max(-(-n_bytes // _BLOCK_BYTES), 1)
    return min(attempts * 8 * blocks * 2.0**-_FREE_BITS_OF_R, 1.0)


def longest_transcript(epsilon: float, attempts: int = 1) -> int:
    """Most bytes for which :func:`forgery_probability` is at most epsilon; 0 if there are none."""
    if not 0.0 < epsilon < 1.0 or attempts < 1:
        raise ValueError("epsilon lies between 0 and 1, and there is an attempt at least")
    blocks = int(epsilon * 2.0 ** (_FREE_BITS_OF_R - 3) / attempts)
    while blocks and forgery_probability(_BLOCK_BYTES * blocks, attempts) > epsilon:
        blocks -= 1
    return _BLOCK_BYTES * blocks


class OneTimeKey:
    """Key of one tag, on the side that makes it or on the side that checks it.

    Parameters
    ----------
    key
        32 bytes (r, s) of the key pool.

    Raises
    ------
    ValueError
        Not 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a one-time key has {KEY_BYTES} bytes, not {len(key)}")
        self._key: bytearray | None = bytearray(key)

    def __repr__(self) -> str:
        return f"OneTimeKey({'unused' if self._key is not None else 'used'})"

    def __reduce__(self) -> str:
        raise TypeError("a one-time key is not copied")

    def spend(self) -> Poly1305:
        """The one computation that this key is for; the bytes are wiped here.

        Raises
        ------
        KeyUsedTwice
            It was spent.
        """
        key, self._key = self._key, None
        if key is None:
            raise KeyUsedTwice("a one-time key was asked for twice")
        computation = Poly1305(key)
        key[:] = bytes(KEY_BYTES)
        return computation


class Transcript:
    """All that was said in one exchange, by both sides, in the order in which it was said.

    Both sides write the same transcript. A tag over it binds the context, the number of the
    exchange, who makes the tag, and of every message who said it, its place in the exchange and
    among that side's messages, and its length. So a message that is changed, left out, added,
    exchanged with another, cut short, moved from one message into the next, said by the other side
    or of another exchange gives another text. The text determines what was said.

    Parameters
    ----------
    context
        What both know and no other conversation shares: who they are, the block, the session.
    exchange
        Number of the exchange in that context, below 2^64.
    known
        What both must have alike besides, in pieces that are not copied: they must not be changed.
    """

    def __init__(self, context: bytes, exchange: int, known: Sequence[bytes] = ()) -> None:
        sizes = (len(context), *map(len, known))
        head = struct.pack(f"<QQ{len(sizes)}Q", exchange, len(known), *sizes)
        self._parts: list[bytes] = [_FORMAT, head, context, *known]
        self._said = {Role.ALICE: 0, Role.BOB: 0}
        # With the head that text() puts before the parts.
        self._n_bytes = len(_signed_head(Role.ALICE, 0, 0)) + sum(map(len, self._parts))

    def __repr__(self) -> str:
        return f"Transcript({self.messages} messages, {len(self)} bytes)"

    def __len__(self) -> int:
        """Bytes that a tag covers."""
        return self._n_bytes

    @property
    def messages(self) -> int:
        """Number of messages."""
        return sum(self._said.values())

    def add(self, speaker: Role, message: bytes) -> None:
        """The next message. It must not be changed any more."""
        head = struct.pack("<cQQ", _SIGNER[speaker], self._said[speaker], len(message))
        self._parts += (head, message)
        self._said[speaker] += 1
        self._n_bytes += len(head) + len(message)

    def text(self, signer: Role) -> Iterator[bytes]:
        """What a side's tag covers, in pieces."""
        yield _signed_head(signer, self._said[Role.ALICE], self._said[Role.BOB])
        yield from self._parts


def _signed_head(signer: Role, by_alice: int, by_bob: int) -> bytes:
    return struct.pack("<cQQ", _SIGNER[signer], by_alice, by_bob)


def seal(key: OneTimeKey, transcript: Transcript, signer: Role) -> bytes:
    """The signer's tag over the transcript so far, 16 bytes.

    Raises
    ------
    KeyUsedTwice
        The key was spent.
    """
    return _computation(key, transcript, signer).finalize()


def check(key: OneTimeKey, transcript: Transcript, signer: Role, tag: bytes) -> None:
    """Return if the tag is the signer's over the transcript so far.

    ``signer`` is the peer, whatever the message says: what comes back is not what we have sealed.

    Raises
    ------
    Forgery
        It is not.
    KeyUsedTwice
        The key was spent.
    """
    expected = _computation(key, transcript, signer).finalize()
    if not hmac.compare_digest(expected, tag):
        raise Forgery("the tag does not fit what was said")


def _computation(key: OneTimeKey, transcript: Transcript, signer: Role) -> Poly1305:
    computation = key.spend()
    for piece in transcript.text(signer):
        computation.update(piece)
    return computation
