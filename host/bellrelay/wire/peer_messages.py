"""Messages between Alice and Bob: what each says about a block, and how the channel keeps order.

A message travels as one frame over a byte stream that TLS protects: its length, a header, a body.
Whatever is secret stays in bodies, which no representation shows. Numbers are little endian.

Frame: length of what follows (u32), then kind (u8), exchange (u8), relay (u8), acquisition (u32),
block index (u64), sequence (u64), acknowledged (u64), body. The relay is its number in the list
that both have agreed upon. ``sequence`` numbers the messages about blocks of
one session in each direction, from 0; an ALIVE says the number of the message that comes next, so
that one that was left out is missed. ``acknowledged`` is the sequence that the sender expects next,
so that a connection that breaks loses nothing.

Order of the messages about one block (A Alice, B Bob; a TAG ends what its sender vouches for):

=========  ====================================================================================
COMMIT     A COMMIT, B COMMIT, B TAG, A TAG
SIFT       A REVEAL, B REVEAL, B TALLIES, B TAG, A TALLIES, A TAG
RECONCILE  A START, RECONCILE both ways, A VERIFY, B VERIFIED, B TAG, A TAG
AMPLIFY    A AMPLIFY, B PENDING, B TAG
VERDICT    A VERDICT, A TAG
=========  ====================================================================================

ABORT may take the place of any message up to B PENDING; from then on only A VERDICT counts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANY_RELAY",
    "BODY_LIMITS",
    "FRAME_HEADER_BYTES",
    "LONGEST_REASON",
    "PEER_PROTOCOL_VERSION",
    "Abort",
    "Amplify",
    "AskMove",
    "Change",
    "Commit",
    "Exchange",
    "Hello",
    "Kind",
    "Move",
    "Moved",
    "OpenBlock",
    "OpenBlocks",
    "PeerFrame",
    "PeerMessageError",
    "Pending",
    "RelaysSeen",
    "Reveal",
    "Start",
    "Tag",
    "Tallies",
    "Verdict",
    "Verified",
    "Verify",
]

PEER_PROTOCOL_VERSION = 4
FRAME_HEADER_BYTES = 35
_HEADER = struct.Struct("<IBBBIQQQ")


class PeerMessageError(ValueError):
    """Not what a peer of this protocol sends."""


class Exchange(IntEnum):
    """What a message is part of; each has its own transcript and its own tags."""

    CHANNEL = 0
    """Not about a block."""
    COMMIT = 1
    SIFT = 2
    RECONCILE = 3
    AMPLIFY = 4
    VERDICT = 5


class Kind(IntEnum):
    """What a frame says."""

    HELLO = 1
    ALIVE = 2
    OPEN = 3
    CHANGE = 4
    MOVE = 5
    MOVED = 6
    RELAYS = 7
    ASK = 8
    COMMIT = 16
    REVEAL = 17
    TALLIES = 18
    START = 19
    RECONCILE = 20
    VERIFY = 21
    VERIFIED = 22
    AMPLIFY = 23
    PENDING = 24
    VERDICT = 25
    TAG = 26
    ABORT = 27


ANY_RELAY = 255
LONGEST_REASON = 200
"""Characters of a reason for people."""
_SMALL = 1 << 10
_LARGE = 1 << 27
BODY_LIMITS: dict[Kind, int] = {
    Kind.HELLO: _SMALL,
    Kind.ALIVE: 0,
    Kind.OPEN: 1 << 16,
    Kind.CHANGE: 1 << 16,
    Kind.MOVE: _SMALL,
    Kind.MOVED: _SMALL,
    Kind.RELAYS: _SMALL,
    Kind.ASK: _SMALL,
    Kind.COMMIT: 1 << 16,
    Kind.REVEAL: _LARGE,
    Kind.TALLIES: _SMALL,
    Kind.START: _SMALL,
    Kind.RECONCILE: _LARGE,
    Kind.VERIFY: _SMALL,
    Kind.VERIFIED: _SMALL,
    Kind.AMPLIFY: _LARGE,
    Kind.PENDING: _SMALL,
    Kind.VERDICT: _SMALL,
    Kind.TAG: _SMALL,
    Kind.ABORT: _SMALL,
}
"""Longest body of each kind, in bytes: known before a byte of it is read."""


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise PeerMessageError(what)


@dataclass(frozen=True)
class PeerFrame:
    """One message with its header. acquisition, index, relay: of the block, 0 where is none."""

    kind: Kind
    exchange: Exchange = Exchange.CHANNEL
    acquisition: int = 0
    index: int = 0
    relay: int = 0
    sequence: int = 0
    acknowledged: int = 0
    body: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse_header`, the body behind it.

        Raises
        ------
        PeerMessageError
            The body is longer than its kind allows.
        """
        _need(len(self.body) <= BODY_LIMITS[self.kind], f"{self.kind.name}: body too long")
        return (
            _HEADER.pack(
                FRAME_HEADER_BYTES - 4 + len(self.body),
                self.kind,
                self.exchange,
                self.relay,
                self.acquisition,
                self.index,
                self.sequence,
                self.acknowledged,
            )
            + self.body
        )

    @classmethod
    def parse_header(cls, header: bytes) -> tuple[PeerFrame, int]:
        """The frame without its body, and the length of the body in bytes.

        Raises
        ------
        PeerMessageError
            Not a header, or a body longer than the kind allows: read nothing more.
        """
        _need(len(header) == FRAME_HEADER_BYTES, "frame: header cut off")
        length, kind, exchange, relay, acquisition, index, *counters = _HEADER.unpack(header)
        _need(kind in Kind.__members__.values(), f"frame: unknown kind {kind}")
        _need(exchange in Exchange.__members__.values(), f"frame: unknown exchange {exchange}")
        size = length - (FRAME_HEADER_BYTES - 4)
        _need(0 <= size <= BODY_LIMITS[Kind(kind)], f"{Kind(kind).name}: a body of {size} bytes")
        return cls(Kind(kind), Exchange(exchange), acquisition, index, relay, *counters), size

    def transcribed(self) -> bytes:
        """What a transcript holds of it: everything but the channel's own counters."""
        head = struct.pack(
            "<BBBIQ", self.kind, self.exchange, self.relay, self.acquisition, self.index
        )
        return head + self.body


class _Fixed:
    """Bodies of one struct."""

    KIND: ClassVar[Kind]
    _LAYOUT: ClassVar[struct.Struct]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises PeerMessageError: wrong length or a value that cannot be."""
        _need(len(body) == cls._LAYOUT.size, f"{cls.KIND.name}: {len(body)} bytes")
        return cls(*cls._LAYOUT.unpack(body))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return self._LAYOUT.pack(*values)


@dataclass(frozen=True)
class Hello(_Fixed):
    """First message of every connection, both ways.

    role : 0 Alice, 1 Bob. session : of the sender's process, random. known : the receiver's
    session that the sender last spoke with, zeros if none. expects : sequence that the sender
    expects next if both sessions go on. parameters : digest of what both must have in common.
    """

    KIND: ClassVar = Kind.HELLO
    _LAYOUT: ClassVar = struct.Struct("<HB16s16sQ32s")
    version: int
    role: int
    session: bytes
    known: bytes
    expects: int
    parameters: bytes


@dataclass(frozen=True)
class OpenBlock:
    """A block that its sender has begun and not ended. state : code of its state."""

    acquisition: int
    index: int
    state: int
    relay: int = 0


@dataclass(frozen=True)
class OpenBlocks:
    """First message of a new session: all blocks that the sender has begun and not ended."""

    KIND: ClassVar = Kind.OPEN
    _LAYOUT: ClassVar = struct.Struct("<IQBB")
    blocks: tuple[OpenBlock, ...]

    @classmethod
    def parse(cls, body: bytes) -> OpenBlocks:
        """Raises PeerMessageError: not whole entries."""
        _need(len(body) % cls._LAYOUT.size == 0, "OPEN: not whole entries")
        return cls(tuple(OpenBlock(*entry) for entry in cls._LAYOUT.iter_unpack(body)))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return b"".join(
            self._LAYOUT.pack(b.acquisition, b.index, b.state, b.relay) for b in self.blocks
        )


@dataclass(frozen=True)
class Commit:
    """The sender holds the complete list of the block.

    announced : its length. deviation_ppm : by so much, in millionths, the sender's intensities may
    have been off in the block. digest : of the list and the block. parameters : digest of the set
    of parameters that the sender's ladder in the block is of. removed : slot ranges [first, end) in
    which the sender sent nothing or lost the record of what it sent; in order, apart from each
    other.
    """

    KIND: ClassVar = Kind.COMMIT
    _RANGE: ClassVar = struct.Struct("<QQ")
    _HEAD: ClassVar = struct.Struct("<QI32s32s")
    announced: int
    deviation_ppm: int
    digest: bytes
    parameters: bytes
    removed: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> Commit:
        """Raises PeerMessageError: cut off, or ranges that are empty, overlap or go back."""
        head, tail = body[: cls._HEAD.size], body[cls._HEAD.size :]
        _need(len(head) == cls._HEAD.size, "COMMIT: cut off")
        _need(len(tail) % cls._RANGE.size == 0, "COMMIT: not whole ranges")
        removed = tuple(cls._RANGE.iter_unpack(tail))
        edges = [edge for both in removed for edge in both]
        _need(all(x < y for x, y in pairwise(edges)), "COMMIT: ranges")
        announced, deviation_ppm, digest, parameters = cls._HEAD.unpack(head)
        return cls(announced, deviation_ppm, digest, parameters, removed)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        ranges = b"".join(self._RANGE.pack(*both) for both in self.removed)
        head = (self.announced, self.deviation_ppm, self.digest, self.parameters)
        return self._HEAD.pack(*head) + ranges


@dataclass(frozen=True)
class Change:
    """Of the parameters that blocks may differ in: what it says is the endpoints' own matter.

    It stands under no tag. Every block says under its tags which parameters it was sent with, so
    that who changes this gets no block accepted with others than both hold.
    """

    KIND: ClassVar = Kind.CHANGE
    values: Mapping[str, Any]

    @classmethod
    def parse(cls, body: bytes) -> Change:
        """Raises PeerMessageError: no JSON object."""
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            raise PeerMessageError("CHANGE: no JSON") from None
        _need(isinstance(values, dict), "CHANGE: no object")
        return cls(values)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return json.dumps(self.values, sort_keys=True, allow_nan=False).encode()


class _Reasoned:
    """Bodies of one struct and a reason for people."""

    KIND: ClassVar[Kind]
    _LAYOUT: ClassVar[struct.Struct]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises PeerMessageError: cut off, or a reason that is no text."""
        size = cls._LAYOUT.size
        _need(len(body) >= size, f"{cls.KIND.name}: cut off")
        try:
            why = body[size:].decode()
        except UnicodeDecodeError:
            raise PeerMessageError(f"{cls.KIND.name}: no text") from None
        _need(len(why) <= LONGEST_REASON and why.isprintable(), f"{cls.KIND.name}: no reason")
        values: tuple[Any, ...] = (*cls._LAYOUT.unpack(body[:size]), why)
        return cls(*values)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`; what is no text of one line is left out of the reason."""
        *values, why = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        text = "".join(c for c in why if c.isprintable())[:LONGEST_REASON]
        return self._LAYOUT.pack(*values) + text.encode()


@dataclass(frozen=True)
class Move(_Reasoned):
    """Alice directs light to this relay, and Bob is to do so. number : counted by Alice.

    Nothing of a move stands under a tag: who changes it sends light to another of the relays that
    both have agreed upon, none of which anybody trusts, and blocks that only one of the two has
    sent to make no key. He could cut the line as well.
    """

    KIND: ClassVar = Kind.MOVE
    _LAYOUT: ClassVar = struct.Struct("<QB")
    number: int
    relay: int
    why: str = ""


@dataclass(frozen=True)
class Moved(_Fixed):
    """Bob directs light there."""

    KIND: ClassVar = Kind.MOVED
    _LAYOUT: ClassVar = struct.Struct("<QB")
    number: int
    relay: int


@dataclass(frozen=True)
class RelaysSeen(_Fixed):
    """Which relays Bob hears and believes: bit n, of value 2**n, is that of relay n."""

    KIND: ClassVar = Kind.RELAYS
    _LAYOUT: ClassVar = struct.Struct("<Q")
    usable: int


@dataclass(frozen=True)
class AskMove(_Reasoned):
    """Bob asks Alice to leave a relay, for one of his choice or ``ANY_RELAY``."""

    KIND: ClassVar = Kind.ASK
    _LAYOUT: ClassVar = struct.Struct("<BB")
    leave: int
    relay: int
    why: str = ""


@dataclass(frozen=True, eq=False)
class Reveal:
    """Settings of the announced slots, and the bits of those that cannot make key.

    setting : (n,) uint8, 0..3. bit : (k,) uint8, bits of the slots with a setting other than 0, in
    order.
    """

    KIND: ClassVar = Kind.REVEAL
    setting: NDArray[np.uint8] = field(repr=False)
    bit: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def parse(cls, body: bytes) -> Reveal:
        """Raises PeerMessageError: lengths that contradict each other, padding that is not 0."""
        _need(len(body) >= 8, "REVEAL: cut off")
        n = struct.unpack_from("<Q", body)[0]
        # Before anything of that size is made.
        _need(8 + (n + 3) // 4 <= len(body), "REVEAL: fewer settings than it says")
        packed = np.frombuffer(body, np.uint8, offset=8)
        quads, rest = packed[: (n + 3) // 4], packed[(n + 3) // 4 :]
        settings = np.empty((quads.size, 4), np.uint8)
        for i in range(4):
            settings[:, i] = quads >> np.uint8(2 * i) & np.uint8(3)
        _need(not settings.reshape(-1)[n:].any(), "REVEAL: padding")
        setting = settings.reshape(-1)[:n]
        k = int(np.count_nonzero(setting))
        _need(rest.size == (k + 7) // 8, "REVEAL: wrong number of bits")
        bits = np.unpackbits(rest)
        _need(not bits[k:].any(), "REVEAL: padding")
        return cls(setting, bits[:k])

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        n = self.setting.size
        padded = np.zeros(4 * ((n + 3) // 4), np.uint8)
        padded[:n] = self.setting
        quads = np.zeros(padded.size // 4, np.uint8)
        for i in range(4):
            quads |= padded[i::4] << np.uint8(2 * i)
        return struct.pack("<Q", n) + quads.tobytes() + np.packbits(self.bit).tobytes()


@dataclass(frozen=True)
class Tallies(_Fixed):
    """Digest of the counts that the sender has made of both parties' settings."""

    KIND: ClassVar = Kind.TALLIES
    _LAYOUT: ClassVar = struct.Struct("<32s")
    digest: bytes


@dataclass(frozen=True)
class Start(_Fixed):
    """Reconciliation begins. method : its code. seed : of its public choices.

    error_rate_ppm : what both assume. bits : length of the sifted key.
    """

    KIND: ClassVar = Kind.START
    _LAYOUT: ClassVar = struct.Struct("<B32sIQ")
    method: int
    seed: bytes
    error_rate_ppm: int
    bits: int


@dataclass(frozen=True)
class Verify(_Fixed):
    """Alice's hash of what was corrected. key : fresh; disclosed : bits, by her count.

    frames : digest of which frames failed. length : bits of key that her bounds allow.
    """

    KIND: ClassVar = Kind.VERIFY
    _LAYOUT: ClassVar = struct.Struct("<16s16sQ32sQ")
    key: bytes
    tag: bytes
    disclosed: int
    frames: bytes
    length: int


@dataclass(frozen=True)
class Verified(_Fixed):
    """Whether Bob's hash is the same, how many bits he corrected, and how long the key will be.

    length : the lesser of what Alice's bounds allow and his.
    """

    KIND: ClassVar = Kind.VERIFIED
    _LAYOUT: ClassVar = struct.Struct("<BQQ")
    equal: int
    errors: int
    length: int

    def __post_init__(self) -> None:
        _need(self.equal in (0, 1), "VERIFIED: neither yes nor no")


@dataclass(frozen=True)
class Amplify:
    """How the key is made of the verified bits, and where in the pool the verdict's key begins.

    length : of the key. pool_bits : how much of it goes into the pool. seed_packed : Toeplitz seed.
    """

    KIND: ClassVar = Kind.AMPLIFY
    _LAYOUT: ClassVar = struct.Struct("<QQQ")
    length: int
    pool_bits: int
    verdict_index: int
    seed_packed: bytes = field(repr=False)

    @classmethod
    def parse(cls, body: bytes) -> Amplify:
        """Raises PeerMessageError: cut off."""
        size = cls._LAYOUT.size
        _need(len(body) >= size, "AMPLIFY: cut off")
        length, pool_bits, verdict_index = cls._LAYOUT.unpack_from(body)
        return cls(length, pool_bits, verdict_index, body[size:])

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return self._LAYOUT.pack(self.length, self.pool_bits, self.verdict_index) + self.seed_packed


@dataclass(frozen=True)
class Pending(_Fixed):
    """Bob's key is on his disk and is delivered or destroyed as Alice decides."""

    KIND: ClassVar = Kind.PENDING
    _LAYOUT: ClassVar = struct.Struct("<Q")
    length: int


@dataclass(frozen=True)
class Verdict(_Fixed):
    """Alice's decision about a pending key: 1 deliver, 0 destroy."""

    KIND: ClassVar = Kind.VERDICT
    _LAYOUT: ClassVar = struct.Struct("<B")
    deliver: int

    def __post_init__(self) -> None:
        _need(self.deliver in (0, 1), "VERDICT: neither yes nor no")


@dataclass(frozen=True)
class Tag(_Fixed):
    """Tag over the transcript so far, and where in the pool its key begins."""

    KIND: ClassVar = Kind.TAG
    _LAYOUT: ClassVar = struct.Struct("<Q16s")
    index: int
    tag: bytes


@dataclass(frozen=True)
class Abort:
    """The block is over. cause : one of a fixed list of words."""

    KIND: ClassVar = Kind.ABORT
    cause: str

    @classmethod
    def parse(cls, body: bytes) -> Abort:
        """Raises PeerMessageError: not a word."""
        try:
            cause = body.decode("ascii")
        except UnicodeDecodeError:
            raise PeerMessageError("ABORT: no word") from None
        _need(0 < len(cause) <= 64 and cause.isprintable(), "ABORT: no word")
        return cls(cause)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return self.cause.encode("ascii")
