"""Connections to a NATS broker. Whatever goes wrong there is an OSError here: try again later."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bellrelay.settings.model import split_address
from bellrelay.settings.nats import BrokerServers

from .tls import client_context

if TYPE_CHECKING:
    from nats.aio.client import Client

__all__ = ["Broker", "BrokerUnavailable", "broker_context"]

_CONNECT_S = 5.0
_CLOSE_S = 1.0
_PING_S = 5
_WRITE_BYTES = 4 << 20


class BrokerUnavailable(ConnectionError):
    """The broker does not answer, or it refuses."""


def broker_context(settings: BrokerServers) -> ssl.SSLContext | None:
    """TLS as the configuration says; None: plain.

    Raises
    ------
    OSError
        A certificate or key that cannot be read.
    ModuleNotFoundError
        nats-py is not installed.
    """
    import nats  # noqa: F401 - whether it is there

    return None if settings.tls is None else client_context(*settings.tls.files)


class Broker:
    """A connection to one of a broker's servers; :meth:`connect` makes it.

    Answers come under ``_INBOX.<name>.>``, which is all that the broker need let us subscribe to.

    Attributes
    ----------
    client : nats.aio.client.Client
    complaint : str
        What the broker said last that it does not allow, or what broke.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.complaint = ""

    @classmethod
    async def connect(
        cls, settings: BrokerServers, context: ssl.SSLContext | None, name: str
    ) -> Broker:
        """Connect to whichever server answers first, asked in an order drawn anew.

        Raises
        ------
        BrokerUnavailable
            None of them lets us in.
        """
        servers = random.sample(settings.servers, len(settings.servers))
        whys = []
        for server in servers:
            try:
                return await cls._connect(server, context, name)
            except BrokerUnavailable as error:
                whys.append(f"{server}: {error}")
        raise BrokerUnavailable("; ".join(whys))

    @classmethod
    async def _connect(cls, server: str, context: ssl.SSLContext | None, name: str) -> Broker:
        from nats.aio.client import Client

        client = Client()
        broker = cls(client)
        host, port = split_address(server)
        host = f"[{host}]" if ":" in host else host
        try:
            with broker.faults("connecting"):
                async with asyncio.timeout(_CONNECT_S):
                    await client.connect(
                        [f"nats://{host}:{port}"],
                        name=name,
                        tls=context,
                        inbox_prefix=f"_INBOX.{name}",
                        error_cb=broker._complains,
                        # After a break we go on from a position of our own, by a new connection.
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=int(_CONNECT_S),
                        ping_interval=_PING_S,
                        pending_size=_WRITE_BYTES,
                    )
            if context is not None and not _encrypted(client):
                raise BrokerUnavailable("it offers no TLS")
        except BaseException:
            await broker.close()
            raise
        return broker

    async def _complains(self, error: Exception) -> None:
        self.complaint = str(error).removeprefix("nats: ") or type(error).__name__

    @contextlib.contextmanager
    def faults(self, what: str) -> Iterator[None]:
        """What the library raises is a BrokerUnavailable of ``what``, with the broker's words."""
        import nats.errors

        try:
            yield
        except (nats.errors.Error, OSError) as error:
            if isinstance(error, BrokerUnavailable):
                raise
            why = str(error).removeprefix("nats: ") or type(error).__name__
            said = self.complaint if self.complaint not in why else ""
            raise BrokerUnavailable(f"{what}: {why}" + (f" ({said})" if said else "")) from error

    async def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await self.client.close()


def _encrypted(client: Client) -> bool:
    """Whether TLS came up: a server that does not ask for it is spoken to without."""
    transport = getattr(client, "_transport", None)
    writer = getattr(transport, "_io_writer", None)
    return writer is not None and writer.get_extra_info("ssl_object") is not None
