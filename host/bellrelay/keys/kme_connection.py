"""One connection of an SAE: whose it is, and errors of HTTP itself in the standard's form.

aiohttp answers what is no HTTP with text or HTML and codes of its own; here everything that leaves
is a code of ETSI GS QKD 014 with an Error in JSON.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from .etsi014_errors import error_body
from .sae_identity import CertificateRefused, SaeCertificate

__all__ = ["NO_HTTP", "ConnectionServer", "KeyReply", "SaeConnection", "reply"]

NO_HTTP = "the request shall be HTTP/1.1 as in RFC 7230"

_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Server": "bellrelay",
}


def reply(
    status: int, body: bytes | bytearray, headers: dict[str, str] | None = None
) -> web.Response:
    """An answer; nobody on the way may keep it."""
    return web.Response(status=status, body=body, headers={**_HEADERS, **(headers or {})})


class KeyReply(web.Response):
    """A 200 with keys, which is overwritten once it has gone into TLS."""

    def __init__(self, body: bytearray) -> None:
        super().__init__(status=200, body=body, headers=_HEADERS)
        self._secret = body

    def wipe(self) -> None:
        """Overwrite it."""
        self._secret[:] = bytes(len(self._secret))


class ConnectionServer(web.Server):
    """Makes connections.

    Parameters
    ----------
    identity, uri_prefix
        Where a certificate has the SAE ID; see :meth:`.SaeCertificate.of`.
    per_sae
        Connections that one SAE may have at once.
    idle_s
        An idle connection is closed after so long a time.

    Attributes
    ----------
    refused : int
        Connections beyond ``per_sae``.
    """

    def __init__(
        self, handler: Any, *, identity: str, uri_prefix: str, per_sae: int, idle_s: float
    ) -> None:
        super().__init__(handler, keepalive_timeout=idle_s)
        self.identity = identity
        self.uri_prefix = uri_prefix
        self.per_sae = per_sae
        self.idle_s = idle_s
        self.by_sae: dict[str, int] = {}
        self.refused = 0

    def __call__(self) -> RequestHandler:
        # Bodies are not decompressed: a small one must not become a large one.
        return SaeConnection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self.idle_s,
            access_log=None,
            auto_decompress=False,
        )


class SaeConnection(RequestHandler):
    """A connection over which an SAE with a certificate asks.

    Attributes
    ----------
    certificate : SaeCertificate or None
        None where it names no SAE.
    fault : str
        Why not.
    """

    def __init__(self, server: ConnectionServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self.certificate: SaeCertificate | None = None
        self.fault = "no certificate"
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done."""
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        found = tls.getpeercert() if tls is not None else None
        if not found:
            self.force_close()
            return
        server = self._server
        try:
            self.certificate = SaeCertificate.of(found, server.identity, server.uri_prefix)
        except CertificateRefused as error:
            self.fault = str(error)
            return
        sae = self.certificate.sae_id
        if server.by_sae.get(sae, 0) >= server.per_sae:
            server.refused += 1
            self.force_close()
            return
        server.by_sae[sae] = server.by_sae.get(sae, 0) + 1
        self._counted = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        if self._counted and self.certificate is not None:
            self._counted = False
            sae = self.certificate.sae_id
            left = self._server.by_sae[sae] - 1
            if left:
                self._server.by_sae[sae] = left
            else:
                del self._server.by_sae[sae]
        super().connection_lost(exc)

    def standing(self, now: float | None = None) -> str | None:
        """Why the certificate does not count (any more), or None; revocation aside."""
        if self.certificate is None:
            return self.fault
        if (time.time() if now is None else now) > self.certificate.not_after:
            return "expired"
        return None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP: the standard's 400, and nothing of the request anywhere in a log."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status < 500:
            answer = reply(400, error_body(NO_HTTP))
        else:
            answer = reply(503, error_body("error on server side"))
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send it, and overwrite what held keys."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if isinstance(resp, KeyReply):
                resp.wipe()
