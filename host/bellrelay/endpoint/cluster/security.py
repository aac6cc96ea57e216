"""Who may speak in a cluster: holders of certificates of an authority that signs nothing else.

Whoever has such a certificate can have every worker execute what they like: so say Dask's authors,
and so it is. One cluster therefore belongs to one endpoint, and its authority is none of those that
peers, relays and applications have certificates of.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from distributed.security import Security

from bellrelay.settings.model import MutualTls

__all__ = ["cluster_security", "shared_authority"]


def cluster_security(tls: MutualTls) -> Security:
    """TLS 1.3 with certificates on both sides, nothing else.

    Raises
    ------
    OSError
        A file cannot be read, or is not what it should be.
    """
    # Dask reads them at every connection; what is wrong with them is told here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca)
    files = {
        f"tls_{who}_{what}": str(path)
        for who in ("client", "scheduler", "worker")
        for what, path in (("cert", tls.certificate), ("key", tls.key))
    }
    return Security(
        require_encryption=True,
        tls_ca_file=str(tls.ca),
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        **files,
    )


def shared_authority(cluster: Path, others: Iterable[Path]) -> Path | None:
    """The first of the others with an authority that the cluster's file has, too.

    Raises
    ------
    OSError, ValueError
        A file cannot be read, or holds no certificates.
    """
    own = _public_keys(cluster)
    return next((path for path in others if own & _public_keys(path)), None)


def _public_keys(path: Path) -> set[bytes]:
    certificates = x509.load_pem_x509_certificates(path.read_bytes())
    return {
        c.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for c in certificates
    }
