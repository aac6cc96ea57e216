"""Certificates for one run on this machine: an authority that nobody else trusts, and its names."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["expire_certificate", "make_certificates", "tls_files"]

_LIFETIME = datetime.timedelta(days=2)


def make_certificates(
    folder: Path, names: Sequence[str], also: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write ``ca.crt``, and ``NAME.crt`` and ``NAME.key`` (mode 0600) for every name.

    also : by name, under which other names it is found.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "ca.key", ca_key)
    ca = _signed("bellrelay run", ca_key, "bellrelay run", ca_key, authority=True)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        others = (also or {}).get(name, ())
        certificate = _signed(name, key, "bellrelay run", ca_key, authority=False, also=others)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / f"{name}.key", key)


def expire_certificate(folder: Path, name: str) -> None:
    """Put a certificate in the place of this name's that was valid until an hour ago."""
    ca_key = _read_key(folder / "ca.key")
    key = _read_key(folder / f"{name}.key")
    ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    certificate = _signed(name, key, "bellrelay run", ca_key, authority=False, ends=ended)
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(private)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def tls_files(folder: Path, name: str) -> dict[str, str]:
    """The files of a name, as a daemon's YAML has them."""
    return {
        "certificate": str(folder / f"{name}.crt"),
        "key": str(folder / f"{name}.key"),
        "ca": str(folder / "ca.crt"),
    }


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
    ends: datetime.datetime | None = None,
    also: Sequence[str] = (),
) -> x509.Certificate:
    names = [x509.DNSName(name) for name in (subject, *also)]
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFETIME)
        .not_valid_after(ends or now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
