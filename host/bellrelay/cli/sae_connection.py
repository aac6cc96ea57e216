"""An application's connection to a KME: one request after the other, HTTP spoken by hand.

Where a thousand of them share a machine with the KMEs that they ask, a library's comforts would be
most of what is measured.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

__all__ = ["Answer", "SaeConnection"]

_HANDSHAKE_S = 120.0


@dataclass(frozen=True)
class Answer:
    """Of a KME. closes : whether it hangs up after it."""

    code: int
    body: bytes
    closes: bool


class SaeConnection:
    """Kept over requests; opened by the first, and anew after it broke.

    Parameters
    ----------
    port, host
        Of the KME.
    name
        In its certificate.
    context
        With the SAE's certificate.
    """

    def __init__(
        self, port: int, name: str, context: ssl.SSLContext, host: str = "127.0.0.1"
    ) -> None:
        self._where = host, port
        self._name = name
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect, if it is not. OSError: nobody there, or no certificate that is taken."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                *self._where,
                ssl=self._context,
                server_hostname=self._name,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request. OSError, EOFError: the connection broke; the next one makes another."""
        try:
            await self.open()
            assert self._streams is not None
            reader, writer = self._streams
            head = f"{method} {path} HTTP/1.1\r\nHost: kme\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            length = next(int(x[15:]) for x in lines if x.startswith("content-length:"))
            answer = await reader.readexactly(length)
        except BaseException:
            self.close()
            raise
        closes = "connection: close" in lines
        if closes:
            self.close()
        return Answer(int(lines[0].split(" ")[1]), answer, closes)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
