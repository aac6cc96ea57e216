"""The consumer's side of the fan-out."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import From, Position, Refused, Subscribe, Welcome

from .announcement_stream import Record, SubscriptionRefused, record_of

__all__ = ["AnnouncementClient", "SubscriptionRefused"]


class AnnouncementClient:
    """One subscription to the daemon's own stream, an :class:`.AnnouncementStream`.

    Make it by :meth:`tcp` or :meth:`unix`, then iterate over :meth:`records`.

    Attributes
    ----------
    welcome : Welcome
        Who serves, and from where on.
    sequence : int
        Of the record that comes next: where to subscribe again after a break.
    missing : int
        Records that the daemon's log has lost to damage on its disk.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        welcome: Welcome,
        decoder: FrameDecoder,
        first: list[Record],
    ) -> None:
        self.welcome = welcome
        self.behind: int | None = None
        self.sequence = welcome.sequence
        self.missing = 0
        self._reader = reader
        self._writer = writer
        self._decoder = decoder
        self._first = first

    @classmethod
    async def tcp(
        cls,
        host: str,
        port: int,
        subscribe: Subscribe = Subscribe(From.LIVE),  # noqa: B008 - immutable
        context: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> AnnouncementClient:
        """Connect by TLS, or plainly without a context.

        Raises
        ------
        SubscriptionRefused
            By the daemon.
        OSError
            No connection, or it broke.
        """
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=server_name if context else None
        )
        return await cls._subscribe(reader, writer, subscribe)

    @classmethod
    async def unix(
        cls,
        path: Path,
        subscribe: Subscribe = Subscribe(From.LIVE),  # noqa: B008 - immutable
    ) -> AnnouncementClient:
        """Connect by a socket of this machine. Raises as :meth:`tcp`."""
        reader, writer = await asyncio.open_unix_connection(path)
        return await cls._subscribe(reader, writer, subscribe)

    @classmethod
    async def _subscribe(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subscribe: Subscribe
    ) -> AnnouncementClient:
        try:
            writer.write(encode_frame(FrameType.SUBSCRIBE, 0, 0, subscribe.encode()))
            await writer.drain()
            decoder = FrameDecoder()
            while data := await reader.read(1 << 16):
                frames = decoder.feed(data)
                if not frames:
                    continue
                first = frames[0]
                if first.type == FrameType.REFUSED:
                    raise SubscriptionRefused(Refused.parse(first.payload).reason)
                client = cls(reader, writer, Welcome.parse(first.payload), decoder, [])
                client._first = [r for f in frames[1:] for r in client._take(f)]
                return client
            raise ConnectionResetError("the daemon hung up")
        except BaseException:
            writer.close()
            raise

    def _take(self, frame: Frame) -> list[Record]:
        if frame.missing or self._decoder.counts.junk_bytes:
            raise ConnectionResetError("the stream is damaged")
        record = record_of(frame)
        if record is None:
            if frame.type == FrameType.REFUSED:
                raise SubscriptionRefused(Refused.parse(frame.payload).reason)
            if frame.type == FrameType.POSITION:
                self.missing += Position.parse(frame.payload).sequence - self.sequence
                self.sequence = Position.parse(frame.payload).sequence
            return []
        if record.sequence < self.sequence:
            raise ConnectionResetError(f"record {record.sequence} after {self.sequence - 1}")
        self.missing += record.sequence - self.sequence
        self.sequence = record.end
        return [record]

    async def records(self) -> AsyncIterator[Record]:
        """Announcements and events in order, for as long as the connection holds.

        Raises
        ------
        ConnectionError
            The stream is damaged or goes back. (It just ends where the daemon hangs up.)
        SubscriptionRefused
            The daemon no longer keeps what comes next.
        PayloadError
            Not what a daemon sends.
        """
        first, self._first = self._first, []
        for record in first:
            yield record
        while data := await self._reader.read(1 << 18):
            for frame in self._decoder.feed(data):
                for record in self._take(frame):
                    yield record

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> AnnouncementClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
