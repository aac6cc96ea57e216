"""Announcements to consumers: each reads the durable log at its own pace.

A consumer has no queue that somebody else fills. It is a position in the log; what it does not
take stays there, and neither the board's reader nor other consumers notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from dataclasses import dataclass
from typing import Any

import structlog

from bellrelay.service.tls import server_context
from bellrelay.settings.model import split_address
from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Announced, From, Position, Refused, Subscribe, Welcome
from bellrelay.wire.payloads import PayloadError

from .announcement_log import AnnouncementLog, LogReader, LogTrimmed
from .block_trace import RelayTrace
from .config import FanOut

__all__ = ["Consumer", "FanOutServer"]

_BUFFER_BYTES = 1 << 18
_SUBSCRIBE_S = 10.0
_POSITION_S = 1.0
_STUCK_S = 60.0
_LAST_WORDS_S = 2.0
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Consumer:
    """One connection."""

    name: str
    sequence: int = 0
    frames: int = 0


class FanOutServer:
    """Serves one log.

    Parameters
    ----------
    trace
        Told what consumers get.

    Attributes
    ----------
    consumers : set of Consumer
        Connected now.
    """

    def __init__(
        self,
        settings: FanOut,
        relay_id: str,
        log: AnnouncementLog,
        trace: RelayTrace | None = None,
    ) -> None:
        self.consumers: set[Consumer] = set()
        self.port: int | None = None
        self._settings = settings
        self._relay_id = relay_id
        self._log = log
        self._trace = trace or RelayTrace()
        self._grown = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    async def start(self) -> None:
        """Listen. OSError: an address in use, a certificate that cannot be read."""
        settings = self._settings
        if settings.listen is not None:
            host, port = split_address(settings.listen)
            tls = settings.tls
            context = tls and server_context(tls.certificate, tls.key, tls.clients_ca)
            server = await asyncio.start_server(
                self._connected, host, port, ssl=context, limit=_BUFFER_BYTES
            )
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        if settings.unix_socket is not None:
            path = settings.unix_socket
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            self._servers.append(
                await asyncio.start_unix_server(self._connected, path, limit=_BUFFER_BYTES)
            )
            os.chmod(path, 0o660)

    def grown(self) -> None:
        """The log has more durable records: tell those who wait. In the loop's thread."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def stop(self) -> None:
        """Stop listening, and hang up once consumers have had what the log ends with.

        One that is too far behind for that finds it in the log at the next start.
        """
        self._ending = True
        self.grown()
        for server in self._servers:
            server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        certificate = writer.get_extra_info("peercert") or {}
        names = [
            value
            for part in certificate.get("subject", ())
            for key, value in part
            if key == "commonName"
        ]
        consumer = Consumer(names[0] if names else str(writer.get_extra_info("peername") or "unix"))
        try:
            await self._serve(consumer, reader, writer)
        except (ConnectionError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError) as error:
            _log.info("consumer gone", consumer=consumer.name, why=type(error).__name__)
        except asyncio.CancelledError:
            pass
        finally:
            self.consumers.discard(consumer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(
        self, consumer: Consumer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if len(self.consumers) >= self._settings.max_consumers:
            await self._refuse(consumer, writer, "too many consumers")
            return
        self.consumers.add(consumer)
        try:
            wish = await asyncio.wait_for(_subscription(reader), _SUBSCRIBE_S)
        except PayloadError as error:
            await self._refuse(consumer, writer, str(error))
            return
        oldest = self._log.oldest_sequence
        if wish.start is From.SEQUENCE:
            begin = wish.number
        elif wish.start is From.SLOT:
            begin = await asyncio.to_thread(
                self._log.sequence_of_slot, wish.acquisition, wish.number
            )
        else:
            begin = self._log.durable_sequence
        if begin < oldest:
            await self._refuse(consumer, writer, f"records before {oldest} are no longer kept")
            return
        if begin > self._log.durable_sequence:
            await self._refuse(consumer, writer, f"the log ends at {self._log.durable_sequence}")
            return
        _log.info("consumer", consumer=consumer.name, sequence=begin)
        welcome = Welcome(self._relay_id, oldest, begin)
        self._send(consumer, writer, FrameType.WELCOME, 0, welcome.encode())
        log_reader = self._log.reader(begin)
        # Only the end of the connection comes from the other side now.
        hung_up = asyncio.ensure_future(reader.read(1))
        try:
            await self._stream(consumer, writer, log_reader, hung_up)
        except LogTrimmed as error:
            await self._refuse(consumer, writer, str(error))
        finally:
            hung_up.cancel()
            log_reader.close()

    async def _stream(
        self,
        consumer: Consumer,
        writer: asyncio.StreamWriter,
        log_reader: LogReader,
        hung_up: asyncio.Future[bytes],
    ) -> None:
        trace = self._trace.consumer(consumer.name)
        while not hung_up.done():
            grown = self._grown
            records = log_reader.read()
            for record in records:
                kind = FrameType.ANNOUNCED if isinstance(record, Announced) else FrameType.EVENT
                self._send(consumer, writer, kind, record.acquisition, record.encode())
                trace.served(record)
            consumer.sequence = log_reader.sequence
            if self._ending and not records:
                await self._hang_up(writer)
                return
            if not records:
                waiter = asyncio.ensure_future(grown.wait())
                either: set[asyncio.Future[Any]] = {waiter, hung_up}
                await asyncio.wait(either, timeout=_POSITION_S, return_when=asyncio.FIRST_COMPLETED)
                if waiter.cancel():
                    position = Position(log_reader.sequence)
                    self._send(consumer, writer, FrameType.POSITION, 0, position.encode())
            await asyncio.wait_for(writer.drain(), _STUCK_S)

    def _send(
        self,
        consumer: Consumer,
        writer: asyncio.StreamWriter,
        kind: FrameType,
        acquisition: int,
        payload: bytes,
    ) -> None:
        writer.write(encode_frame(kind, consumer.frames, acquisition, payload))
        consumer.frames += 1

    async def _refuse(self, consumer: Consumer, writer: asyncio.StreamWriter, why: str) -> None:
        _log.warning("consumer refused", consumer=consumer.name, why=why)
        self._send(consumer, writer, FrameType.REFUSED, 0, Refused(why).encode())
        await self._hang_up(writer)

    async def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        """What was sent arrives before the end of the connection does."""
        await asyncio.wait_for(writer.drain(), _SUBSCRIBE_S)
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), _SUBSCRIBE_S)


async def _subscription(reader: asyncio.StreamReader) -> Subscribe:
    decoder = FrameDecoder(max_payload_words=16)
    size = 0
    while size < 4096:
        data = await reader.read(256)
        if not data:
            raise ConnectionResetError("hung up")
        size += len(data)
        for frame in decoder.feed(data):
            if frame.type != FrameType.SUBSCRIBE:
                raise PayloadError(f"a frame of type {frame.type} instead of a subscription")
            return Subscribe.parse(frame.payload)
    raise PayloadError("no subscription")
