"""Errors of ETSI GS QKD 014 v1.1.1: its codes, its exact messages, the body that carries them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "EXTENSION_NOT_MET",
    "EXTENSION_NOT_SUPPORTED",
    "KEYS_NOT_FOUND",
    "SIZE_NOT_MULTIPLE",
    "BadRequest",
    "Etsi014Error",
    "NotAuthorized",
    "NotAvailable",
    "error_body",
]

# Clauses 6.2 and 6.4, word for word.
SIZE_NOT_MULTIPLE = "size shall be a multiple of 8"
EXTENSION_NOT_SUPPORTED = "not all extension_mandatory parameters are supported"
EXTENSION_NOT_MET = "not all extension_mandatory request options could be met"
KEYS_NOT_FOUND = "one or more keys specified are not found on KME"


class Etsi014Error(Exception):
    """An answer that is no 200. Text and details go to the client: no key, nothing of others.

    Attributes
    ----------
    status : int
        400, 401 or 503: the standard has no other.
    details : sequence of mappings
        Name/value pairs, clause 6.5.
    retry_after_s : int or None
        For 503: when to try again.
    """

    status = 503

    def __init__(
        self,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.retry_after_s = retry_after_s


class BadRequest(Etsi014Error):
    """400: the request is at fault."""

    status = 400


class NotAuthorized(Etsi014Error):
    """401: this SAE may not have what it asks for."""

    status = 401


class NotAvailable(Etsi014Error):
    """503: keys run short, the other KME is away, the store cannot be used, too many requests."""

    status = 503


def error_body(message: str, details: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The Error of clause 6.5 in JSON."""
    error: dict[str, Any] = {"message": message}
    if details:
        error["details"] = [dict(each) for each in details]
    return json.dumps(error, separators=(",", ":")).encode()
