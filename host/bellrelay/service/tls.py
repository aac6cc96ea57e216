"""TLS with certificates on both sides: who shows none, or another authority's, does not get in."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["certificate_names", "client_context", "server_context"]


def server_context(
    certificate: Path,
    key: Path,
    clients_ca: Path,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """For who listens: only clients with a certificate that ``clients_ca`` has signed.

    Raises
    ------
    OSError
        A file cannot be read, or is not what it should be (`ssl.SSLError`).
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, clients_ca, minimum)


def client_context(
    certificate: Path,
    key: Path,
    server_ca: Path,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """For who connects: the server's certificate must be signed by ``server_ca`` for its name.

    Raises
    ------
    OSError
        A file cannot be read, or is not what it should be (`ssl.SSLError`).
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, server_ca, minimum)


def _context(
    purpose: int, certificate: Path, key: Path, ca: Path, minimum: ssl.TLSVersion
) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = minimum
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificate_names(certificate: Mapping[str, Any]) -> set[str]:
    """DNS names and addresses in a peer's certificate, as :mod:`ssl` gives it."""
    return {value for kind, value in certificate.get("subjectAltName", ()) if kind != "URI"}
