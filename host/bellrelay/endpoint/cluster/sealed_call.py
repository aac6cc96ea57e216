"""A function with its arguments, and what came of it, as bytes that only one endpoint's nodes open.

What a scheduler passes on, a worker spills or logs, and a network carries, is AES-256-GCM under a
key of this call alone. A call says what it is the result of, so that results cannot be exchanged;
an error of the function is part of the sealed result, as its text might say too much.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import bit_pickle
from .work_key import WorkKey

__all__ = ["CALL_BYTES", "NotOurs", "open_result", "run_sealed", "seal_call", "use_work_key"]

CALL_BYTES = 32
_NONCE_BYTES = 12

_work_key: WorkKey | None = None
"""Of the process that works for others."""


class NotOurs(Exception):
    """Sealed for another endpoint, by another version of bellrelay, or changed on its way."""


def use_work_key(key: WorkKey | None) -> None:
    """From now on :func:`run_sealed` works for this endpoint in this process; None: for nobody."""
    global _work_key
    _work_key = key


def seal_call(
    key: WorkKey,
    function: Callable[..., Any],
    arguments: tuple[Any, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> tuple[bytes, bytes]:
    """Name of the call (random, not secret), and the call, sealed.

    Parameters
    ----------
    function
        Of a module that workers have, too; everything is pickled.
    """
    call = os.urandom(CALL_BYTES)
    plain = bit_pickle.dumps((function, arguments, dict(options or {})))
    # The key is of this call alone, so its nonce may be fixed.
    return call, AESGCM(key.of_call(call, "call")).encrypt(bytes(_NONCE_BYTES), plain, None)


def run_sealed(call: bytes, sealed: bytes) -> bytes:
    """Carry out a call in a worker; the result, sealed, or the error that the function raised.

    Raises
    ------
    NotOurs
    """
    key = _work_key
    if key is None:
        raise NotOurs("this process works for no endpoint")
    function, arguments, options = pickle.loads(_opened(key, call, "call", bytes(12), sealed))
    try:
        plain = bit_pickle.dumps((True, function(*arguments, **options)))
    except Exception as error:
        plain = _pickled_error(error)
    # A call may be carried out twice, and its results need not be equal to the last byte.
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key.of_call(call, "result")).encrypt(nonce, plain, None)


def open_result(key: WorkKey, call: bytes, sealed: bytes) -> Any:
    """What the function returned.

    Raises
    ------
    NotOurs, and what the function raised.
    """
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    well, value = pickle.loads(_opened(key, call, "result", nonce, rest))
    if not well:
        raise value
    return value


def _opened(key: WorkKey, call: bytes, purpose: str, nonce: bytes, sealed: bytes) -> bytes:
    try:
        return AESGCM(key.of_call(call, purpose)).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError):
        raise NotOurs(f"a {purpose} that was not sealed with the key of {key.owner}") from None


def _pickled_error(error: Exception) -> bytes:
    try:
        plain = bit_pickle.dumps((False, error))
        pickle.loads(plain)
    except Exception:
        plain = bit_pickle.dumps((False, RuntimeError(type(error).__name__)))
    return plain
