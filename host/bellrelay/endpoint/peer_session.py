"""Order and completeness of the messages between two processes, whatever their connections do.

A session is a pair of processes that have greeted each other. Within it every message has a number
and is kept until the peer has said that it came; after a broken connection what did not come is
sent again, so that a break of the network is no break of a block. When one of the two processes is
another than before, the session is over, and with it whatever was under way.

Pure: frames in, frames out.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace

from bellrelay.wire.peer_messages import (
    PEER_PROTOCOL_VERSION,
    Exchange,
    Hello,
    Kind,
    PeerFrame,
)

__all__ = ["PeerSession", "SessionBroken", "WrongPeer"]

_NONE = bytes(16)


class WrongPeer(Exception):
    """Who answers is not the other endpoint of this configuration."""


class SessionBroken(Exception):
    """Frames that no honest peer's channel delivers: repeated, left out, or in another order."""


class PeerSession:
    """One side of a session.

    Attributes
    ----------
    session : bytes
        Ours, 16 random bytes, new with every process.
    peer : bytes
        The peer's, zeros before the first greeting.
    waiting_bytes : int
        Sent or to be sent, and not acknowledged.
    """

    def __init__(self, role: int, parameters: bytes) -> None:
        self.session = os.urandom(16)
        self.peer = _NONE
        self._role = role
        self._parameters = parameters
        self._unacknowledged: deque[PeerFrame] = deque()
        self._reset()

    @property
    def name(self) -> bytes:
        """Of the session, the same on both sides: Alice's and Bob's, 32 bytes."""
        both = (self.session, self.peer)
        return b"".join(both if self._role == 0 else both[::-1])

    @property
    def untold(self) -> int:
        """Messages that came and that the peer does not know we have."""
        return self._expected - self._told

    def hello(self) -> PeerFrame:
        """The greeting of a new connection."""
        body = Hello(
            PEER_PROTOCOL_VERSION,
            self._role,
            self.session,
            self.peer,
            self._expected,
            self._parameters,
        ).encode()
        return PeerFrame(Kind.HELLO, body=body)

    def greet(self, frame: PeerFrame) -> bool:
        """Take the peer's greeting; whether the session goes on (if not, a new one has begun).

        Raises
        ------
        WrongPeer
            Another version, our own role, or other parameters.
        SessionBroken, PeerMessageError
            No greeting, or one that contradicts what the peer has acknowledged.
        """
        if frame.kind is not Kind.HELLO:
            raise SessionBroken(f"{frame.kind.name} instead of a greeting")
        hello = Hello.parse(frame.body)
        if hello.version != PEER_PROTOCOL_VERSION:
            raise WrongPeer(f"the peer speaks version {hello.version}, not {PEER_PROTOCOL_VERSION}")
        if hello.role != 1 - self._role or hello.session == self.session:
            raise WrongPeer("the peer has our own role")
        if hello.parameters != self._parameters:
            raise WrongPeer("the peer's configuration differs in what both must have alike")
        if hello.session == self.peer and hello.known == self.session:
            self._acknowledge(hello.expects)
            return True
        self.peer = hello.session
        self._reset()
        return False

    def renew(self) -> None:
        """End the session from our side: the next greeting begins another one."""
        self.session, self.peer = os.urandom(16), _NONE
        self._reset()

    def _reset(self) -> None:
        self._unacknowledged.clear()
        self.waiting_bytes = 0
        self._next = 0
        self._expected = 0
        self._acknowledged = 0
        self._told = 0

    def number(
        self, kind: Kind, exchange: Exchange, block: tuple[int, int, int], body: bytes
    ) -> None:
        """Put a message into its place; it is kept until the peer has it."""
        self._unacknowledged.append(PeerFrame(kind, exchange, *block, self._next, 0, body))
        self._next += 1
        self.waiting_bytes += len(body)

    def frame(self, number: int) -> PeerFrame | None:
        """The message of this number as it goes out now; None if there is none (yet)."""
        at = number - self._acknowledged
        if not 0 <= at < len(self._unacknowledged):
            return None
        self._told = self._expected
        return replace(self._unacknowledged[at], acknowledged=self._expected)

    @property
    def acknowledged(self) -> int:
        """Number of the first message that the peer may not have: where a connection begins."""
        return self._acknowledged

    def alive(self, number: int) -> PeerFrame:
        """A sign of life before the message of this number goes out; it acknowledges as well."""
        self._told = self._expected
        return PeerFrame(Kind.ALIVE, sequence=number, acknowledged=self._expected)

    def take(self, frame: PeerFrame) -> bool:
        """Take a frame of the running session; whether it is a message (or a sign of life only).

        Raises
        ------
        SessionBroken
            Not the one that comes next, or it acknowledges what was never sent.
        """
        self._acknowledge(frame.acknowledged)
        if frame.kind is Kind.HELLO:
            raise SessionBroken("a greeting in the middle")
        # A sign of life has the number of what comes next: what was left out is seen by it.
        if frame.sequence != self._expected:
            raise SessionBroken(f"message {frame.sequence} instead of {self._expected}")
        if frame.kind is Kind.ALIVE:
            return False
        self._expected += 1
        return True

    def _acknowledge(self, upto: int) -> None:
        if not self._acknowledged <= upto <= self._next:
            raise SessionBroken(f"{upto} acknowledged of {self._acknowledged} to {self._next}")
        while self._acknowledged < upto:
            self._acknowledged += 1
            self.waiting_bytes -= len(self._unacknowledged.popleft().body)
