"""Certificates: whether they are used as they are, fit keys, are signed rightly, and hold."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from bellrelay.service.certificate_end import require_valid
from bellrelay.settings.model import ConfigError, FileModel

from .finding import Finding, State, failed, passed, unknown, warning
from .needs import Certificates, Chain
from .private_files import AS_THE_DAEMON, look_at_secret

__all__ = ["SOON", "check_certificates"]

_CHECK = "certificates"
SOON = timedelta(days=30)
"""A certificate that ends within it is a warning."""
_LITTLE_OF_LIST = 0.25
"""Share of a revocation list's time, when less is left of which somebody should have renewed it."""
_PAGE = "docs/how-to/run-daemons.md, certificates and keys"
_SIGN = "have {} signed anew: " + _PAGE


def check_certificates(
    config: FileModel, sections: Iterable[Certificates], now: datetime | None = None
) -> Iterator[Finding]:
    """Each section that names certificates."""
    now = datetime.now(UTC) if now is None else now
    seen: set[object] = set()
    for section in sections:
        files = section.files
        found: list[Finding] = []
        if files.certificate is not None and (files.certificate, files.key) not in seen:
            # The same file stands in several sections; it is told once.
            seen.add((files.certificate, files.key))
            found += _own(config, section, now)
        if files.ca is not None and files.ca not in seen:
            seen.add(files.ca)
            found += _authority(config, section, files.ca, now)
        if not any(finding.state == State.FAILED for finding in found):
            found += _chain(config, section)
        if section.revoked is not None and files.ca is not None:
            found += _revoked(config, section.revoked, files.ca, now)
        yield from found


def _bad(config: FileModel, key: str, value: object, wanted: str, remedy: str) -> Finding:
    error = config.error(key, str(value), wanted)
    return failed(_CHECK, f"{key}: {value}; wanted: {wanted}", remedy, error)


def _unreadable(config: FileModel, key: str, path: Path, error: OSError) -> Finding:
    missing = isinstance(error, FileNotFoundError)
    remedy = f"put it there: {_PAGE}" if missing else f"ls -l {path}"
    return _bad(config, key, path, f"PEM that can be read ({error.strerror})", remedy)


def _own(config: FileModel, section: Certificates, now: datetime) -> Iterator[Finding]:
    """Our own certificate, and its key."""
    path = section.files.certificate
    assert path is not None
    key = f"{section.key}.certificate"
    try:
        end = require_valid(config, section.key, path, now)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ConfigError as error:
        yield failed(_CHECK, error, _SIGN.format("it"))
        return
    except OSError as error:
        yield _unreadable(config, key, path, error)
        return
    except ValueError:
        yield _bad(config, key, path, "a certificate, PEM", f"openssl x509 -in {path} -text")
        return
    names = _names(certificate)
    said = f"{key}: {path}: {_until(end, now)}, {', '.join(names) or 'no name'}"
    if section.names and not names:
        yield _bad(
            config,
            key,
            path,
            "a certificate with a subjectAltName, which is where others look for the name",
            _SIGN.format("one with -addext subjectAltName=DNS:NAME"),
        )
    elif end - now < SOON:
        yield warning(_CHECK, said, _SIGN.format("it"))
    else:
        yield passed(_CHECK, said)
    yield from _private_key(config, section, certificate)


def _private_key(
    config: FileModel, section: Certificates, certificate: x509.Certificate
) -> Iterator[Finding]:
    path = section.files.key
    assert path is not None
    key = f"{section.key}.key"
    bad = look_at_secret(_CHECK, key, path, "put the certificate's private key there, mode 0600")
    if bad is not None:
        yield bad
    try:
        fits = _public(load_pem_private_key(path.read_bytes(), None).public_key())
    except OSError:
        # look_at_secret has told it, or it is somebody else's.
        return
    except (ValueError, TypeError):
        wanted = "a private key, PEM, without a password"
        yield _bad(config, key, path, wanted, "openssl pkey -in OLD -out NEW, mode 0600")
        return
    if fits != _public(certificate.public_key()):
        wanted = f"the private key of {section.files.certificate}"
        yield _bad(config, key, path, wanted, "put the two that belong together there")
    elif bad is None:
        yield passed(_CHECK, f"{key}: {path}: fits the certificate, and is its owner's alone")


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> list[str]:
    """DNS names and addresses, where others look for them."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _until(end: datetime, now: datetime) -> str:
    days = (end - now).days
    return f"valid until {end:%Y-%m-%d %H:%M} UTC, {days} day{'s' * (days != 1)} more"


def _authority(
    config: FileModel, section: Certificates, path: Path, now: datetime
) -> Iterator[Finding]:
    """Who signs certificates of others."""
    key = f"{section.key}.{section.ca_name}"
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        yield _unreadable(config, key, path, error)
        return
    except ValueError:
        yield _bad(config, key, path, "certificates, PEM", f"openssl x509 -in {path} -text")
        return
    holding = [c for c in found if c.not_valid_before_utc <= now < c.not_valid_after_utc]
    if not holding:
        ends = ", ".join(f"{c.not_valid_after_utc:%Y-%m-%d}" for c in found)
        wanted = f"an authority that has not expired (until {ends})"
        yield _bad(config, key, path, wanted, "get the authority's present certificate")
        return
    end = max(c.not_valid_after_utc for c in holding)
    said = f"{key}: {path}: {_until(end, now)}"
    if end - now < SOON:
        yield warning(_CHECK, said, "get the authority's next certificate before that")
    else:
        yield passed(_CHECK, said)


def _chain(config: FileModel, section: Certificates) -> Iterator[Finding]:
    """Whether our own certificate would be believed by who trusts the same authority."""
    files = section.files
    if section.chain is Chain.NOT_SAID or files.key is None or files.ca is None:
        return
    assert files.certificate is not None
    try:
        why = _refused(files.certificate, files.key, files.ca, section.listens)
    except OSError:
        said = f"{section.key}: whether {files.ca} has signed it is not tried without its key"
        yield unknown(_CHECK, said, AS_THE_DAEMON)
        return
    if why is None:
        yield passed(_CHECK, f"{section.key}: {files.ca} has signed {files.certificate}")
    elif section.chain is Chain.NEEDED:
        wanted = f"a certificate that {files.ca} has signed ({why})"
        at = f"{section.key}.certificate"
        yield _bad(config, at, files.certificate, wanted, _SIGN.format("it"))
    else:
        yield warning(
            _CHECK,
            f"{section.key}: {files.ca} has not signed {files.certificate} ({why})",
            "right only if the other side's file names the authority that has",
        )


def _refused(certificate: Path, key: Path, ca: Path, listens: bool) -> str | None:
    """Why TLS would refuse our certificate; None: it would not.

    A handshake in memory, between us and somebody who trusts this authority. OSError: a file cannot
    be loaded.
    """
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if listens else ssl.PROTOCOL_TLS_CLIENT)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if listens else ssl.PROTOCOL_TLS_SERVER)
    for context in (ours, theirs):
        context.check_hostname = False
    ours.verify_mode = ssl.CERT_NONE
    theirs.verify_mode = ssl.CERT_REQUIRED
    ours.load_cert_chain(certificate, key)
    theirs.load_verify_locations(ca)
    if not listens:
        # A server has to show something, and we do not look at it.
        theirs.load_cert_chain(certificate, key)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    us = ours.wrap_bio(to_us, to_them, server_side=listens)
    them = theirs.wrap_bio(to_them, to_us, server_side=not listens)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (us, them):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
    return None


def _revoked(config: FileModel, path: Path, ca: Path, now: datetime) -> Iterator[Finding]:
    """A revocation list: one that is out of date lets nobody in."""
    from bellrelay.keys.sae_identity import RevocationError, RevocationList

    key = "tls.crl"
    renew = "openssl ca -gencrl, or get the authority's present list; docs/reference/kme-config.md"
    try:
        end = datetime.fromtimestamp(RevocationList(path, ca).valid_until, UTC)
        begin = x509.load_pem_x509_crl(path.read_bytes()).last_update_utc
    except (RevocationError, OSError, ValueError) as error:
        yield _bad(config, key, path, f"a revocation list of {ca} ({error})", renew)
        return
    said = f"{key}: {path}: made {begin:%Y-%m-%d %H:%M} UTC, {_until(end, now)}"
    if now >= end:
        yield _bad(config, key, path, f"a list that is not out of date ({said})", renew)
    elif end - now < _LITTLE_OF_LIST * (end - begin):
        yield warning(_CHECK, said, renew)
    else:
        yield passed(_CHECK, said)
