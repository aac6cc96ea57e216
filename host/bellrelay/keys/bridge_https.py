"""A key manager over HTTPS: an entry per tenant and key, put there with its name as the name.

``PUT {url}/tenants/{tenant}/keys/{key_id}`` with JSON. PUT is idempotent, and `Idempotency-Key`
says it again for gateways that look for that.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from bellrelay.service.private_file import require_private_file

from .bridge_settings import HttpsTarget
from .bridge_targets import BridgeKey, TargetRefused, TargetUnavailable
from .wiping import wipe

__all__ = ["HttpsKeys"]

_MAX_ANSWER = 1 << 16
# Asked once too often, asked too early, or the manager's own trouble: perhaps later.
_LATER = {401, 403, 408, 425, 429}


class HttpsKeys:
    """See :class:`.bridge_targets.KeyTarget`."""

    def __init__(self, settings: HttpsTarget, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        parts = urlsplit(settings.url)
        assert parts.hostname is not None
        self._host, self._port, self._base = parts.hostname, parts.port or 443, parts.path
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_verify_locations(settings.tls.ca)
        if settings.tls.certificate is not None:
            self._context.load_cert_chain(settings.tls.certificate, settings.tls.key)
        if settings.token_file is not None:
            require_private_file(settings.token_file)
        self._connection: http.client.HTTPSConnection | None = None

    def put(self, key: BridgeKey) -> str:
        """Put the entry; its path is the manager's name for it."""
        path = self._path(key.key_id)
        body = _body(key)
        try:
            status, answer = self._ask("PUT", path, body, {"Idempotency-Key": key.key_id})
        finally:
            wipe(body)
        if status not in (200, 201, 202, 204):
            raise TargetRefused(f"HTTP {status}{_said(answer)}")
        return path

    def recall(self, key_id: str, remote_id: str, reason: str) -> None:
        """Delete the entry; one that is not there is as good as deleted."""
        status, answer = self._ask("DELETE", remote_id, None, {"X-Reason": quote(reason, " ")})
        if status not in (200, 202, 204, 404, 410):
            raise TargetRefused(f"HTTP {status}{_said(answer)}")

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _path(self, key_id: str) -> str:
        tenant = quote(self._settings.tenant, "")
        return self._base + self._settings.path.format(tenant=tenant, key_id=quote(key_id, ""))

    def _ask(
        self, method: str, path: str, body: bytearray | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Status and the beginning of the answer.

        A connection that was kept may have been closed meanwhile: then once more, on a new one.
        """
        kept = self._connection is not None
        try:
            return self._once(method, path, body, headers)
        except (http.client.HTTPException, ConnectionError, ssl.SSLEOFError) as error:
            self.close()
            if not kept:
                raise _unavailable(error) from None
        except OSError as error:
            self.close()
            raise _unavailable(error) from None
        try:
            return self._once(method, path, body, headers)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise _unavailable(error) from None

    def _once(
        self, method: str, path: str, body: bytearray | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
        headers = {"Content-Type": "application/json", **headers}
        token = self._settings.token_file
        if token is not None:
            # Read each time: whoever renews it need not start us again.
            headers["Authorization"] = f"Bearer {token.read_text().strip()}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        said = answer.read(_MAX_ANSWER)
        if answer.read(1):
            self.close()
        if answer.status >= 500 or answer.status in _LATER:
            wait = answer.getheader("Retry-After", "")
            raise TargetUnavailable(
                f"HTTP {answer.status}{_said(said)}", float(wait) if wait.isdigit() else 0.0
            )
        return answer.status, said


def _body(key: BridgeKey) -> bytearray:
    """The JSON of an entry, in memory that can be wiped; the base64 in it is a copy for a while."""
    about: dict[str, Any] = {
        "algorithm": "AES" if key.size_bits in (128, 192, 256) else "raw",
        "key_id": key.key_id,
        "master": key.master,
        "provenance": list(key.blocks),
        "size_bits": key.size_bits,
    }
    body = bytearray(json.dumps(about).encode())
    body[-1:] = b', "key": "'
    encoded = bytearray(base64.b64encode(key.key))
    body += encoded
    wipe(encoded)
    body += b'"}'
    return body


def _said(answer: bytes) -> str:
    """What a manager says of an error, if it says it in JSON and shortly."""
    try:
        message = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {message[:200]}" if isinstance(message, str) else ""


def _unavailable(error: Exception) -> TargetUnavailable:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TargetUnavailable(text)
