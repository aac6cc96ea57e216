"""A KMIP server: keys are registered there under a Name that holds their key_ID.

KMIP has no idempotent way to register. So a key is looked for by its Name first: one whose reply
was lost is found that way, and what is there is compared with what we have.
"""

from __future__ import annotations

import hmac
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from kmip.core.attributes import Name
from kmip.core.enums import (
    AttributeType,
    CryptographicAlgorithm,
    CryptographicUsageMask,
    KMIPVersion,
    NameType,
    ResultReason,
    RevocationReasonCode,
    SecretDataType,
    State,
)
from kmip.core.factories.attributes import AttributeFactory
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure
from kmip.pie.objects import SecretData, SymmetricKey
from kmip.services.kmip_client import KMIPProxy
from kmip.services.kmip_protocol import KMIPProtocol, RequestLengthMismatch

from bellrelay.service.tls import client_context
from bellrelay.settings.model import split_address

from .bridge_settings import KmipTarget
from .bridge_targets import BridgeKey, TargetRefused, TargetUnavailable

__all__ = ["KmipKeys"]

_AES_BITS = {128, 192, 256}
# What the server may get over; anything else is said of the one key.
_LATER = {
    ResultReason.AUTHENTICATION_NOT_SUCCESSFUL,
    ResultReason.PERMISSION_DENIED,
    ResultReason.GENERAL_FAILURE,
}
_R = TypeVar("_R")
# It complains of every file that it would have read, had we not said everything.
logging.getLogger("kmip.core.config_helper").setLevel(logging.ERROR)


class _Proxy(KMIPProxy):  # type: ignore[misc]
    """PyKMIP's connection, with our TLS: its own never looks at the name in the certificate."""

    def __init__(self, settings: KmipTarget, timeout_s: float) -> None:
        host, port = split_address(settings.address)
        # Everything is said here: what is left out, PyKMIP reads from files below /etc and ~.
        super().__init__(
            host=host,
            port=port,
            certfile=str(settings.tls.certificate),
            keyfile=str(settings.tls.key),
            ca_certs=str(settings.tls.ca),
            cert_reqs="CERT_REQUIRED",
            kmip_version=KMIPVersion.KMIP_1_4,
        )
        self._server_name = settings.server_name or host
        self._timeout_s = timeout_s
        self._context = client_context(*settings.tls.files, minimum=ssl.TLSVersion.TLSv1_2)
        self.username = self.password = None

    def open(self) -> None:
        plain = socket.create_connection((self.host, self.port), self._timeout_s)
        try:
            self.socket = self._context.wrap_socket(plain, server_hostname=self._server_name)
        except BaseException:
            plain.close()
            raise
        self.protocol = KMIPProtocol(self.socket)


class KmipKeys:
    """See :class:`.bridge_targets.KeyTarget`."""

    def __init__(self, settings: KmipTarget, timeout_s: float) -> None:
        self._settings = settings
        self._client = ProxyKmipClient(kmip_version=KMIPVersion.KMIP_1_4)
        self._client.proxy = _Proxy(settings, timeout_s)
        self._open = False

    def put(self, key: BridgeKey) -> str:
        """Register it, unless it is there; the server's unique identifier."""
        return self._try(lambda: self._put(key))

    def _put(self, key: BridgeKey) -> str:
        name = self._settings.name_prefix + key.key_id
        found = self._located(name)
        if found is None:
            uid = str(self._client.register(_managed_object(key, name)))
        else:
            uid = found
            there = self._client.get(uid)
            if not hmac.compare_digest(bytes(there.value), bytes(key.key)):
                raise TargetRefused(f"another object has the name {name}")
        if self._settings.activate:
            self._activate(uid)
        return uid

    def _located(self, name: str) -> str | None:
        wanted = AttributeFactory().create_attribute(
            AttributeType.NAME, Name.create(name, NameType.UNINTERPRETED_TEXT_STRING)
        )
        found = self._client.locate(attributes=[wanted])
        return str(found[0]) if found else None

    def _activate(self, uid: str) -> None:
        try:
            self._client.activate(uid)
        except KmipOperationFailure as failure:
            # It is active already: the reply to that was lost.
            if failure.reason is not ResultReason.PERMISSION_DENIED or not self._active(uid):
                raise

    def _active(self, uid: str) -> bool:
        _, attributes = self._client.get_attributes(uid, ["State"])
        return any(a.attribute_value.value is State.ACTIVE for a in attributes)

    def recall(self, key_id: str, remote_id: str, reason: str) -> None:
        """Revoke it as compromised, and destroy it."""

        def body() -> None:
            try:
                self._client.revoke(RevocationReasonCode.KEY_COMPROMISE, remote_id, reason)
                self._client.destroy(remote_id)
            except KmipOperationFailure as failure:
                if failure.reason is not ResultReason.ITEM_NOT_FOUND:
                    raise

        self._try(body)

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            try:
                self._client.close()
            except OSError:
                self._client._is_open = False

    def _try(self, body: Callable[[], _R]) -> _R:
        """Run it; once more on a new connection where one that was kept has gone."""
        kept = self._open
        try:
            return self._once(body)
        except (OSError, EOFError, RequestLengthMismatch) as error:
            if not kept:
                raise _unavailable(error) from None
        try:
            return self._once(body)
        except (OSError, EOFError, RequestLengthMismatch) as error:
            raise _unavailable(error) from None

    def _once(self, body: Callable[[], _R]) -> _R:
        try:
            if not self._open:
                self._client.open()
                self._open = True
            return body()
        except KmipOperationFailure as failure:
            text = f"KMIP {failure.reason.name.lower()}: {failure.message}"
            if failure.reason in _LATER:
                raise TargetUnavailable(text) from None
            raise TargetRefused(text) from None
        except TargetRefused:
            raise
        except (OSError, EOFError, RequestLengthMismatch):
            self.close()
            raise
        except Exception as error:
            # PyKMIP has many words for an answer that is none; what it holds is not repeated.
            self.close()
            raise TargetUnavailable(f"not KMIP: {type(error).__name__}") from None


def _managed_object(key: BridgeKey, name: str) -> Any:
    value = bytes(key.key)
    if key.size_bits in _AES_BITS:
        masks = [CryptographicUsageMask.ENCRYPT, CryptographicUsageMask.DECRYPT]
        return SymmetricKey(
            CryptographicAlgorithm.AES, key.size_bits, value, masks=masks, name=name
        )
    masks = [CryptographicUsageMask.DERIVE_KEY]
    secret = SecretData(value, SecretDataType.SEED, masks=masks, name=name)
    return secret


def _unavailable(error: Exception) -> TargetUnavailable:
    return TargetUnavailable(getattr(error, "strerror", None) or str(error) or "hung up")
