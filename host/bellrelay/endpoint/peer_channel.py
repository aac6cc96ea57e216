"""The channel between Alice and Bob: one connection at a time, kept up, for all blocks.

It carries messages in order and completely for as long as both processes live
(:mod:`.peer_session`), and keeps a sender from running ahead of its peer. What a message may say,
and whether it is authentic, is none of its business: tags are in the blocks' exchanges.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from bellrelay.wire.peer_messages import (
    FRAME_HEADER_BYTES,
    Exchange,
    Kind,
    PeerFrame,
    PeerMessageError,
)

from .peer_session import PeerSession, SessionBroken, WrongPeer

__all__ = ["ChannelHandler", "PeerChannel", "Streams"]

_ALIVE_S = 1.0
_TELL_S = 0.2
_SILENCE_S = 10.0
_BACKOFF_S = (0.05, 5.0)
_WINDOW_BYTES = 1 << 26
_PIECE = 1 << 18
_log = structlog.get_logger(__name__)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ChannelHandler(Protocol):
    """Who the messages are for. Both are called in the loop's thread and must not wait."""

    def session_began(self) -> None:
        """A new session: whatever was under way in the old one is over."""
        ...

    def received(self, frame: PeerFrame) -> None:
        """A message, in its order."""
        ...


class PeerChannel:
    """Our end of the channel, for as long as :meth:`run` runs.

    Parameters
    ----------
    session
        Who we are.
    connect
        Makes a connection, or waits for one; OSError if there is none now.
    handler
        Gets the messages.

    Attributes
    ----------
    connected : bool
    reconnects : int
        Connections after the first.
    alarms : int
        Connections that ended because somebody did not keep to the protocol.
    reason : str
        Why there is no connection.
    """

    def __init__(
        self,
        session: PeerSession,
        connect: Callable[[], Awaitable[Streams]],
        handler: ChannelHandler,
    ) -> None:
        self.connected = False
        self.reconnects = 0
        self.alarms = 0
        self.reason = "not connected yet"
        self._session = session
        self._connect = connect
        self._handler = handler
        self._next = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def session_name(self) -> bytes:
        """Of the running session, the same on both sides."""
        return self._session.name

    async def send(
        self,
        session: bytes,
        kind: Kind,
        exchange: Exchange,
        block: tuple[int, int, int] = (0, 0, 0),
        body: bytes = b"",
    ) -> bool:
        """Send a message now or when there is a connection; waits while the peer is behind.

        False, and nothing is sent, if the session is not (any more) the one of this name.
        """
        while self._session.name == session and self._session.waiting_bytes > _WINDOW_BYTES:
            self._room.clear()
            await self._room.wait()
        if self._session.name != session:
            return False
        self._session.number(kind, exchange, block, body)
        self._more.set()
        return True

    def break_session(self, why: str) -> None:
        """Somebody does not keep to the protocol: hang up, and begin a new session."""
        self.alarms += 1
        _log.error("peer channel broken", why=why)
        self._renew(why)

    def renew_session(self, why: str) -> None:
        """Hang up and begin a new session, whose tags are made with key that no tag was made with.

        Blocks in work are interrupted as by any end of a session. No alarm: it is asked for.
        """
        _log.warning("peer session renewed", why=why)
        self._renew(why)

    def _renew(self, why: str) -> None:
        self._session.renew()
        self._room.set()
        self._broken = why
        if self._writer is not None:
            self._writer.transport.abort()

    _writer: asyncio.StreamWriter | None = None
    _broken: str | None = None

    async def run(self) -> None:
        """Keep a connection up, for ever."""
        wait = _BACKOFF_S[0]
        while True:
            self._broken = None
            try:
                reader, writer = await self._connect()
                self._writer = writer
                try:
                    await self._converse(reader, writer)
                    wait = _BACKOFF_S[0]
                finally:
                    self._writer = None
                    writer.transport.abort()
                self.reason = "the peer hung up"
            except (SessionBroken, PeerMessageError) as error:
                if self._broken is None:
                    self.break_session(str(error))
                self.reason = str(error)
            except WrongPeer as error:
                self.alarms += 1
                self.reason = str(error)
                _log.error("wrong peer", why=str(error))
            except (OSError, EOFError) as error:
                self.reason = self._broken or str(error) or type(error).__name__
            if self.connected:
                wait = _BACKOFF_S[0]
                self.reconnects += 1
                _log.warning("peer gone", why=self.reason)
            self.connected = False
            await asyncio.sleep(wait)
            wait = min(2 * wait, _BACKOFF_S[1])

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._session.hello().encode())
        greeting = await _read_frame(reader)
        if not self._session.greet(greeting):
            self._handler.session_began()
        self._next = self._session.acknowledged
        self._room.set()
        self.connected, self.reason = True, ""
        self._more.set()
        talk = asyncio.ensure_future(self._talk(writer))
        listen = asyncio.ensure_future(self._listen(reader))
        try:
            done, _ = await asyncio.wait({talk, listen}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (talk, listen):
                task.cancel()
            # Not awaited one by one: to suppress their cancellation would be to suppress ours.
            for task in (await asyncio.wait({talk, listen}))[0]:
                if not task.cancelled():
                    task.exception()

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        spoke = time.monotonic()
        while True:
            self._more.clear()
            while (frame := self._session.frame(self._next)) is not None:
                self._next += 1
                spoke = time.monotonic()
                await _write(writer, frame.encode())
            if self._session.untold or time.monotonic() - spoke >= _ALIVE_S:
                spoke = time.monotonic()
                writer.write(self._session.alive(self._next).encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TELL_S):
                    await self._more.wait()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        untold = 0
        while True:
            frame = await _read_frame(reader)
            if self._session.take(frame):
                untold += len(frame.body)
                self._handler.received(frame)
            if untold > _WINDOW_BYTES // 8:
                untold = 0
                self._more.set()
            if self._session.waiting_bytes <= _WINDOW_BYTES:
                self._room.set()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    # In pieces: a long message on a slow line is not silence.
    for begin in range(0, len(data), _PIECE):
        writer.write(data[begin : begin + _PIECE])
        async with asyncio.timeout(_SILENCE_S):
            await writer.drain()


async def _read_frame(reader: asyncio.StreamReader) -> PeerFrame:
    """A whole frame. EOFError, TimeoutError: none; PeerMessageError: not one of ours."""
    header = await _read(reader, FRAME_HEADER_BYTES)
    frame, size = PeerFrame.parse_header(header)
    # Nothing of the announced size is made before it has come.
    body = await _read(reader, size)
    return PeerFrame(
        frame.kind,
        frame.exchange,
        frame.acquisition,
        frame.index,
        frame.relay,
        frame.sequence,
        frame.acknowledged,
        body,
    )


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        async with asyncio.timeout(_SILENCE_S):
            piece = await reader.read(min(_PIECE, size - len(parts)))
        if not piece:
            raise EOFError("the peer hung up")
        parts += piece
    return bytes(parts)
