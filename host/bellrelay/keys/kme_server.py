"""The ETSI GS QKD 014 v1.1.1 server: HTTPS with certificates on both sides, three methods.

One handler answers every path, so that no router's 404 or 405 ever leaves. Every request is
authenticated anew, counted against its SAE's rate, and answered with 200, 400, 401 or 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import structlog
from aiohttp import HttpVersion10, web

from .etsi014_errors import BadRequest, Etsi014Error, NotAuthorized, NotAvailable, error_body
from .etsi014_openapi import openapi_document
from .etsi014_replies import StatusOfPair, key_container, status_body
from .etsi014_requests import (
    KeyIds,
    KeyRequest,
    Limits,
    Route,
    key_ids,
    key_ids_of_query,
    key_request,
    key_request_of_query,
    route,
)
from .kme_connection import NO_HTTP, ConnectionServer, KeyReply, SaeConnection, reply
from .rate_limit import RateLimit
from .request_tally import RequestTally
from .sae_identity import RevocationList

__all__ = ["OPENAPI_PATH", "Key", "KeyService", "KmeServer"]

OPENAPI_PATH = "/api/v1/openapi.json"

_MAX_BODY = 1 << 18
_BODY_S = 10.0
_HANDSHAKE_S = 10.0
_LAST_WORDS_S = 5.0
_BACKLOG = 4096
_SERVER_SIDE = "error on server side"
_TOO_MANY = "too many requests of this SAE"
_UNAUTHORIZED = "the certificate does not stand for an SAE of this KME"
_log = structlog.get_logger(__name__)


class Key(Protocol):
    """A key on its way to an SAE."""

    @property
    def key_id(self) -> str: ...

    @property
    def key(self) -> bytearray: ...


class KeyService(Protocol):
    """What is behind the server. Every method raises `Etsi014Error` for what is no 200."""

    limits: Limits

    def knows(self, sae_id: str) -> bool:
        """Whether this SAE belongs to this KME."""

    async def status(self, caller: str, slave: str) -> StatusOfPair:
        """Get status."""

    async def get_keys(
        self, caller: str, slave: str, request: KeyRequest, gone: Callable[[], bool]
    ) -> Sequence[Key]:
        """Get key. ``gone()`` : the SAE has hung up, and need not be given any."""

    async def get_keys_by_id(self, caller: str, master: str, request: KeyIds) -> Sequence[Key]:
        """Get key with key IDs."""


class KmeServer:
    """Serves SAEs.

    Parameters
    ----------
    service
        Who has the keys.
    context
        TLS that asks for a certificate.
    revoked
        The revocation list, if there is one.
    open_per_sae
        Requests of one SAE that may be answered at once.
    on_refused
        Told of every 401: SAE ID as the certificate has it, address, why.
    on_issued
        Told of every answer with keys: method, key IDs, UTC ns when it was asked and answered.

    Attributes
    ----------
    port : int or None
        Where it listens.
    tally : RequestTally
        Requests by method and code.
    """

    def __init__(
        self,
        service: KeyService,
        context: ssl.SSLContext,
        *,
        revoked: RevocationList | None = None,
        rate: RateLimit,
        open_per_sae: int = 1024,
        connections_per_sae: int = 1024,
        idle_s: float = 120.0,
        identity: str = "common-name",
        uri_prefix: str = "",
        on_refused: Callable[[str, str, str], None] = lambda _sae, _address, _why: None,
        on_issued: Callable[[str, Sequence[str], int, int], None] = lambda *_: None,
    ) -> None:
        self.port: int | None = None
        self.tally = RequestTally()
        self._service = service
        self._context = context
        self._revoked = revoked
        self._rate = rate
        self._open_per_sae = open_per_sae
        self._on_refused = on_refused
        self._on_issued = on_issued
        self._open: dict[str, int] = {}
        self._options = {
            "identity": identity,
            "uri_prefix": uri_prefix,
            "per_sae": connections_per_sae,
            "idle_s": idle_s,
        }
        self._server: asyncio.Server | None = None
        self._connections: ConnectionServer | None = None

    @property
    def connections(self) -> int:
        """Open now."""
        return 0 if self._connections is None else len(self._connections.connections)

    @property
    def refused(self) -> int:
        """Connections of an SAE beyond its limit."""
        return 0 if self._connections is None else self._connections.refused

    async def start(self, host: str, port: int) -> None:
        """Listen. OSError: the address is in use."""
        self._connections = ConnectionServer(self._handle, **self._options)  # type: ignore[arg-type]
        self._server = await asyncio.get_running_loop().create_server(
            self._connections,
            host,
            port,
            ssl=self._context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=1.0,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, answer what was asked, and hang up."""
        if self._server is None or self._connections is None:
            return
        self._server.close()
        self._connections.pre_shutdown()
        await self._connections.shutdown(_LAST_WORDS_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        begun = time.perf_counter()
        path, query = _target(request)
        verb, caller = "other", ""
        try:
            caller = self._caller(request)
            if request.version < HttpVersion10:
                raise BadRequest(NO_HTTP)
            asked = None if path == OPENAPI_PATH else route(request.method, path)
            verb = "openapi" if asked is None else asked.verb
            with self._admitted(caller):
                answer = await self._answer(caller, asked, query, request)
        except Etsi014Error as error:
            answer = _error_reply(error)
            if caller and isinstance(error, NotAuthorized):
                self._on_refused(caller, request.remote or "", error.message)
        except Exception as error:
            # Its text may quote a database's parameters: the class alone goes into the log.
            _log.error("request failed", method=verb, error=type(error).__name__)
            answer = _error_reply(NotAvailable(_SERVER_SIDE))
        self.tally.add(verb, answer.status, time.perf_counter() - begun)
        return answer

    def _caller(self, request: web.BaseRequest) -> str:
        connection = request.protocol
        assert isinstance(connection, SaeConnection)
        certificate = connection.certificate
        fault = connection.standing()
        if fault is None and certificate is not None and self._revoked is not None:
            fault = self._revoked.fault(certificate)
        if fault is None and certificate is not None and self._service.knows(certificate.sae_id):
            return certificate.sae_id
        sae, why = "" if certificate is None else certificate.sae_id, fault or "not of this KME"
        _log.warning("SAE refused", sae=sae, why=why)
        self._on_refused(sae, request.remote or "", why)
        raise NotAuthorized(_UNAUTHORIZED)

    @contextlib.contextmanager
    def _admitted(self, caller: str) -> Iterator[None]:
        """Count a request against its SAE; NotAvailable: there are too many."""
        wait_s = self._rate.take(caller)
        if wait_s is not None or self._open.get(caller, 0) >= self._open_per_sae:
            raise NotAvailable(_TOO_MANY, retry_after_s=wait_s or 1)
        self._open[caller] = self._open.get(caller, 0) + 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    async def _answer(
        self, caller: str, asked: Route | None, query: str, request: web.BaseRequest
    ) -> web.Response:
        asked_ns = time.time_ns()
        service, limits = self._service, self._service.limits
        # Also where none belongs: what is left of it must not be taken for the next request.
        body = await _body(request)
        by_get = request.method == "GET"
        if by_get and body:
            raise BadRequest("with GET there is no body")
        if asked is None:
            if not by_get or query:
                raise BadRequest(f"the access method of {OPENAPI_PATH} is GET")
            return reply(200, openapi_document(limits))
        if asked.verb == "status":
            if query:
                raise BadRequest("status has no parameters")
            return reply(200, status_body(await service.status(caller, asked.sae_id), limits))
        if not by_get and query:
            raise BadRequest("with POST there are no parameters in the URL")
        if asked.verb == "enc_keys":
            wish = key_request_of_query(query, limits) if by_get else key_request(body, limits)
            keys = await service.get_keys(caller, asked.sae_id, wish, _gone(request))
        else:
            ids = key_ids_of_query(query) if by_get else key_ids(body, limits)
            keys = await service.get_keys_by_id(caller, asked.sae_id, ids)
        self._on_issued(asked.verb, [each.key_id for each in keys], asked_ns, time.time_ns())
        try:
            return KeyReply(key_container((each.key_id, each.key) for each in keys))
        finally:
            for each in keys:
                each.key[:] = bytes(len(each.key))


def _target(request: web.BaseRequest) -> tuple[str, str]:
    """Path and query as they were sent, percent-encoding and all; also of an absolute URI."""
    target = request.raw_path.partition("#")[0]
    if "://" in target.partition("/api/")[0]:
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body. BadRequest: too long, too slow, another type, cut short."""
    if not request.body_exists:
        return b""
    kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip()
    if (request.content_length or 0) > _MAX_BODY:
        raise BadRequest(f"the body shall be at most {_MAX_BODY} bytes")
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > _MAX_BODY:
                    raise BadRequest(f"the body shall be at most {_MAX_BODY} bytes")
                parts.append(part)
    except TimeoutError:
        raise BadRequest(f"the body shall be there within {_BODY_S:g} s") from None
    except web.RequestPayloadError:
        raise BadRequest("the body shall be as long as its headers say") from None
    if size and kind.lower() != "application/json":
        raise BadRequest("the content type of the body shall be application/json")
    return b"".join(parts)


def _gone(request: web.BaseRequest) -> Callable[[], bool]:
    def gone() -> bool:
        transport = request.transport
        return transport is None or transport.is_closing()

    return gone


def _error_reply(error: Etsi014Error) -> web.Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    answer = reply(error.status, error_body(error.message, error.details), headers)
    if isinstance(error, NotAuthorized) and error.message == _UNAUTHORIZED:
        answer.force_close()
    return answer
