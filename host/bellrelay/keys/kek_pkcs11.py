"""A KEK in an HSM, by PKCS#11: it never leaves the module, and sealing is done by the module.

Any module with ``CKM_AES_GCM`` that takes the caller's nonce will do. The KEK is an AES-256 object
that is sensitive and not extractable; another one is refused.

What was unsealed comes out of the library as ``bytes``, which cannot be overwritten: see
docs/reference/key-store.md, "Memory".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    FunctionFailed,
    GeneralError,
    NoSuchKey,
    NoSuchToken,
    PKCS11Error,
    UserAlreadyLoggedIn,
)

from bellrelay.service.private_file import require_private_file

from .sealing import NONCE_BYTES, SealBroken, SealerUnavailable, blob_header, join_blob, split_blob

__all__ = ["Pkcs11Kek", "create_pkcs11_kek", "read_pin"]

# Modules differ in what they say to a wrong tag; SoftHSM: a general error.
_PERHAPS_BROKEN = (EncryptedDataInvalid, EncryptedDataLenRange, FunctionFailed, GeneralError)
_KNOWN = b"bellrelay: is the KEK at work?"
T = TypeVar("T")


def read_pin(path: Path) -> str:
    """The PIN in a file that nobody else can read. UnsafeMode; OSError: there is none."""
    require_private_file(path)
    return path.read_text(encoding="utf-8").strip()


def create_pkcs11_kek(module: Path, token_label: str, pin: str, label: str) -> None:
    """Have a token make a KEK of its own.

    Raises
    ------
    SealerUnavailable
        The token refuses, or has a secret key of this label already.
    """
    session = _open(module, token_label, pin, rw=True)
    try:
        if list(session.get_objects(_template(label))):
            raise SealerUnavailable(f"{token_label}: there is a key {label!r} already")
        session.generate_key(
            KeyType.AES,
            256,
            label=label,
            id=label.encode(),
            store=True,
            template={
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                Attribute.ENCRYPT: True,
                Attribute.DECRYPT: True,
                Attribute.WRAP: False,
                Attribute.UNWRAP: False,
                Attribute.SIGN: False,
                Attribute.VERIFY: False,
                Attribute.DERIVE: False,
            },
        )
    except PKCS11Error as error:
        raise SealerUnavailable(f"{token_label}: {_said(error)}") from None
    finally:
        session.close()


class Pkcs11Kek:
    """Seals under a KEK in a token; any thread may use it.

    Parameters
    ----------
    module
        The PKCS#11 library of the HSM.
    token_label, label
        Of the token, and of the KEK in it.
    pin
        Called for the user's PIN whenever a session is opened.

    Raises
    ------
    SealerUnavailable
        The module, token or KEK is not there, refuses the PIN, or would give the KEK away.
    """

    def __init__(self, module: Path, token_label: str, pin: Callable[[], str], label: str) -> None:
        self._module = module
        self._token_label = token_label
        self._pin = pin
        self._label = label
        self._kek_id = f"pkcs11:{token_label}/{label}"
        self._header = blob_header(self._kek_id)
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        with self._lock:
            self._known = self._with_key(self._sealed, _KNOWN, b"")

    @property
    def kek_id(self) -> str:
        """``pkcs11:TOKEN/KEK``."""
        return self._kek_id

    def close(self) -> None:
        """End the session."""
        with self._lock:
            self._forget()

    def seal(self, plain: bytearray | bytes, aad: bytes) -> bytes:
        """A blob. SealerUnavailable."""
        with self._lock:
            return self._with_key(self._sealed, bytes(plain), aad)

    def unseal(self, blob: bytes, aad: bytes) -> bytearray:
        """What was sealed. SealBroken, SealerUnavailable."""
        kek_id, _, _ = split_blob(blob)
        if kek_id != self._kek_id:
            raise SealBroken("sealed under another KEK")
        with self._lock:
            return self._with_key(self._unsealed, blob, aad)

    def _sealed(self, key: Any, plain: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        sealed = key.encrypt(
            plain,
            mechanism=Mechanism.AES_GCM,
            mechanism_param=GCMParams(nonce, aad=self._header + aad),
        )
        return join_blob(self._kek_id, nonce, bytes(sealed))

    def _unsealed(self, key: Any, blob: bytes, aad: bytes) -> bytearray:
        try:
            return self._opened(key, blob, aad)
        except _PERHAPS_BROKEN:
            # A blob that we made ourselves tells a broken seal from a broken module.
            if self._opened(key, self._known, b"") != _KNOWN:
                raise
            raise SealBroken("a sealed blob that was changed or belongs elsewhere") from None

    def _opened(self, key: Any, blob: bytes, aad: bytes) -> bytearray:
        _, nonce, sealed = split_blob(blob)
        return bytearray(
            key.decrypt(
                sealed,
                mechanism=Mechanism.AES_GCM,
                mechanism_param=GCMParams(nonce, aad=self._header + aad),
            )
        )

    def _with_key(self, operation: Callable[[Any, bytes, bytes], T], data: bytes, aad: bytes) -> T:
        """Do it; where the session was lost, once more in a new one."""
        if self._key is not None:
            try:
                return operation(self._key, data, aad)
            except PKCS11Error:
                self._forget()
        self._key = self._found()
        try:
            return operation(self._key, data, aad)
        except PKCS11Error as error:
            self._forget()
            raise SealerUnavailable(f"{self._kek_id}: {_said(error)}") from None

    def _found(self) -> Any:
        try:
            self._session = _open(self._module, self._token_label, self._pin(), rw=False)
            key = self._session.get_key(object_class=ObjectClass.SECRET_KEY, label=self._label)
            safe = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
        except NoSuchKey:
            self._forget()
            raise SealerUnavailable(f"{self._token_label}: no key {self._label!r}") from None
        except PKCS11Error as error:
            self._forget()
            raise SealerUnavailable(f"{self._kek_id}: {_said(error)}") from None
        if not safe:
            self._forget()
            raise SealerUnavailable(f"{self._kek_id}: the token would give this KEK away")
        return key

    def _forget(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                return


def _template(label: str) -> dict[Attribute, Any]:
    return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}


def _open(module: Path, token_label: str, pin: str, *, rw: bool) -> Any:
    try:
        token = pkcs11.lib(str(module)).get_token(token_label=token_label)
        try:
            return token.open(rw=rw, user_pin=pin)
        except UserAlreadyLoggedIn:
            # Who is logged in to a token is so in all sessions of a process.
            return token.open(rw=rw)
    except NoSuchToken:
        raise SealerUnavailable(f"{module}: no token {token_label!r}") from None
    except PKCS11Error as error:
        raise SealerUnavailable(f"{module}: {_said(error)}") from None


def _said(error: PKCS11Error) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
