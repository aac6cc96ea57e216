"""Who calls: the SAE ID in a client certificate, and whether that certificate still stands.

TLS has checked the chain, the dates and the revocation list when the connection began. Connections
last, and TLS 1.2 may resume one without looking again: dates and revocation are looked at anew for
every request.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from bellrelay.service.tls import server_context

__all__ = [
    "CertificateRefused",
    "RevocationError",
    "RevocationList",
    "SaeCertificate",
    "sae_context",
]


def sae_context(
    certificate: Path, key: Path, ca: Path, minimum: ssl.TLSVersion, revoked: RevocationList | None
) -> ssl.SSLContext:
    """TLS of a KME towards SAEs: each shows a certificate of ``ca``, on every connection anew.

    Raises
    ------
    OSError
        A file cannot be read, or is not what it should be.
    """
    context = server_context(certificate, key, ca, minimum)
    # A resumed session would not look at the certificate again.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if revoked is not None:
        revoked.load_into(context)
    return context


class CertificateRefused(Exception):
    """A certificate that names no SAE. The text is for the log."""


class RevocationError(OSError):
    """A revocation list that cannot be used."""


@dataclass(frozen=True)
class SaeCertificate:
    """What counts of a client certificate. sae_id : the name; not_after : seconds UTC."""

    sae_id: str
    serial: int
    not_after: float

    @classmethod
    def of(cls, certificate: Mapping[str, Any], source: str, prefix: str = "") -> SaeCertificate:
        """From a certificate as :mod:`ssl` gives it.

        Parameters
        ----------
        source
            ``common-name``: the subject's one common name; ``uri``: its one alternative name that
            is a URI with ``prefix``, which is left out.

        Raises
        ------
        CertificateRefused
            No such name, or several.
        """
        if source == "uri":
            uris = [v for kind, v in certificate.get("subjectAltName", ()) if kind == "URI"]
            names = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
        else:
            names = [
                value
                for part in certificate.get("subject", ())
                for kind, value in part
                if kind == "commonName"
            ]
        if len(names) != 1 or not names[0]:
            raise CertificateRefused(f"{len(names)} names where one SAE ID should be")
        return cls(
            names[0],
            int(certificate["serialNumber"], 16),
            ssl.cert_time_to_seconds(certificate["notAfter"]),
        )


class RevocationList:
    """The revocation list of the authority that signs SAE certificates, read again as it changes.

    Parameters
    ----------
    path
        PEM. Whoever writes it replaces the file in one step.
    ca
        PEM of the authority whose list it must be.

    Raises
    ------
    RevocationError
        It cannot be read, is another authority's, or its signature is wrong.
    """

    def __init__(self, path: Path, ca: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._ca = ca
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._revoked: frozenset[int] = frozenset()
        self._valid_until = 0.0
        self.refresh()

    @property
    def valid_until(self) -> float:
        """Seconds UTC, from when on nobody is believed: a list that is too old says nothing."""
        return self._valid_until

    def refresh(self) -> bool:
        """Read the file if it has changed; whether it had. RevocationError: the old one stays."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return False
            revoked, until = _read(self.path.read_bytes(), self._ca.read_bytes())
        except (OSError, ValueError) as error:
            raise RevocationError(f"{self.path}: {error}") from error
        self._revoked, self._valid_until, self._stamp = revoked, until, stamp
        return True

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have TLS refuse, when a connection begins, what the list names.

        OpenSSL adds lists to those it has and takes the newest, so this may be done while serving.
        """
        context.load_verify_locations(self.path)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF

    def fault(self, certificate: SaeCertificate) -> str | None:
        """Why this certificate does not stand as far as the list goes, or None."""
        if certificate.serial in self._revoked:
            return "revoked"
        if self._clock() >= self._valid_until:
            return "the revocation list is out of date"
        return None


def _read(crl_pem: bytes, ca_pem: bytes) -> tuple[frozenset[int], float]:
    crl = x509.load_pem_x509_crl(crl_pem)
    for ca in x509.load_pem_x509_certificates(ca_pem):
        if ca.subject == crl.issuer:
            try:
                good = crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
            except (TypeError, InvalidSignature):
                good = False
            if good:
                break
    else:
        raise ValueError("not signed by the authority of SAE certificates")
    until = crl.next_update_utc
    if until is None:
        raise ValueError("says not until when it is valid")
    return frozenset(entry.serial_number for entry in crl), until.timestamp()
