"""Connections between the two sites: TLS 1.3, both with certificates, the name that is expected."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from bellrelay.settings.model import split_address
from bellrelay.settings.peer import PeerSettings

from .tls import certificate_names, client_context, server_context

__all__ = ["PeerDialler", "PeerListener", "Streams", "peer_connection"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CONNECT_S = 10.0
_LIMIT = 1 << 20
_log = structlog.get_logger(__name__)


class PeerDialler:
    """The side that connects."""

    def __init__(self, settings: PeerSettings) -> None:
        assert settings.connect is not None
        self._address = split_address(settings.connect)
        self._name = settings.name
        self._context = client_context(*settings.tls.files)

    async def start(self) -> None:
        """Nothing to do beforehand."""

    async def connection(self) -> Streams:
        """A connection to the peer. OSError: none, or not with its certificate."""
        host, port = self._address
        async with asyncio.timeout(_CONNECT_S):
            return await asyncio.open_connection(
                host, port, ssl=self._context, server_hostname=self._name, limit=_LIMIT
            )

    async def stop(self) -> None:
        """Nothing to give back."""


class PeerListener:
    """The side that listens. The newest connection counts: an older one may hang unnoticed.

    Attributes
    ----------
    port : int or None
        Where it listens.
    refused : int
        Connections with a certificate of somebody else's.
    """

    def __init__(self, settings: PeerSettings) -> None:
        assert settings.listen is not None
        self.port: int | None = None
        self.refused = 0
        self._address = split_address(settings.listen)
        self._name = settings.name
        self._context = server_context(*settings.tls.files)
        self._server: asyncio.Server | None = None
        self._newest: asyncio.Queue[Streams] = asyncio.Queue()
        self._current: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        """Listen. OSError: the address is in use."""
        host, port = self._address
        self._server = await asyncio.start_server(
            self._connected, host, port, ssl=self._context, limit=_LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        names = certificate_names(writer.get_extra_info("peercert") or {})
        if self._name not in names:
            self.refused += 1
            _log.error("peer refused", names=sorted(names), expected=self._name)
            writer.transport.abort()
            return
        while not self._newest.empty():
            self._newest.get_nowait()[1].transport.abort()
        self._newest.put_nowait((reader, writer))
        if self._current is not None:
            self._current.transport.abort()

    async def connection(self) -> Streams:
        """The next connection of the peer."""
        streams = await self._newest.get()
        self._current = streams[1]
        return streams

    async def stop(self) -> None:
        """Stop listening, and hang up."""
        if self._server is not None:
            self._server.close()
        if self._current is not None:
            self._current.transport.abort()
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._newest.get_nowait()[1].transport.abort()


def peer_connection(settings: PeerSettings) -> PeerDialler | PeerListener:
    """As the configuration says. OSError, ssl.SSLError: certificate or key cannot be read."""
    return PeerListener(settings) if settings.listen is not None else PeerDialler(settings)
