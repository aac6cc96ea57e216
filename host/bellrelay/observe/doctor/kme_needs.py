"""What a KME's configuration needs."""

from __future__ import annotations

from bellrelay.keys.bridge_settings import BridgeSettings
from bellrelay.keys.kme_config import KekSource, KmeConfig
from bellrelay.settings.model import split_address

from .needs import (
    Certificates,
    Connection,
    Directory,
    Listening,
    Needs,
    Package,
    PrivateFile,
    TlsFiles,
)
from .shared_needs import (
    audit_needs,
    health_needs,
    https_connection,
    mutual,
    peer_needs,
    trace_needs,
)

__all__ = ["kme_needs"]

_OF_ITSELF = 64
"""Open files of a KME that serves nobody: its store, its audit log, libraries."""


def kme_needs(config: KmeConfig) -> Needs:
    """All of it, what is in the store aside."""
    tls = Certificates("tls", mutual(config.tls), listens=True, revoked=config.tls.crl)
    here = {pair.saes.get(config.kme_id) for pair in config.pairs}
    out = Needs(
        (tls,),
        listening=(Listening("listen", config.listen),),
        open_files=_OF_ITSELF + len(here) * config.limits.connections,
    )
    out += peer_needs(config.peer, config.peer.kme_id) + health_needs(config.health)
    out += trace_needs(config.traces) + audit_needs("audit", config.audit)
    out += _kek("kek", config.kek)
    for n, before in enumerate(config.kek.previous):
        out += _kek(f"kek.previous.{n}", before)
    if config.store.directory is not None:
        out += Needs(directories=(Directory("store.directory", config.store.directory),))
    else:
        out += Needs(packages=(Package("store.url", "psycopg"),))
    if config.intake is not None:
        out += Needs(directories=(Directory("intake.directory", config.intake.directory),))
    return sum(map(_bridge, config.bridges), out)


def _kek(key: str, kek: KekSource) -> Needs:
    if kek.file is not None:
        made = "bellrelay kme --config FILE.yaml --create-kek, once; else put it back from its copy"
        return Needs(private_files=(PrivateFile(f"{key}.file", kek.file, "KEK", made),))
    assert kek.pkcs11 is not None
    pin = kek.pkcs11.pin_file
    written = f"write the token's user PIN there, mode 0600: install -m 0600 /dev/stdin {pin}"
    return Needs(
        private_files=(PrivateFile(f"{key}.pkcs11.pin_file", pin, "PIN of the HSM", written),),
        packages=(Package(f"{key}.pkcs11", "pkcs11"),),
    )


def _bridge(bridge: BridgeSettings) -> Needs:
    key = f"bridges.{bridge.name}"
    if bridge.kmip is not None:
        kmip = bridge.kmip
        files = mutual(kmip.tls)
        name = kmip.server_name or split_address(kmip.address)[0]
        return Needs(
            (Certificates(f"{key}.kmip.tls", files, listens=False, names=False),),
            connections=(
                Connection(f"{key}.kmip.address", "the key manager", kmip.address, files, name),
            ),
            packages=(Package(f"{key}.kmip", "kmip"),),
        )
    assert bridge.https is not None
    https = bridge.https
    files = TlsFiles(https.tls.certificate, https.tls.key, https.tls.ca)
    out = Needs(
        (Certificates(f"{key}.https.tls", files, listens=False, names=False),),
        connections=(https_connection(f"{key}.https.url", "the key manager", https.url, files),),
    )
    if https.token_file is not None:
        made = f"write the manager's token there: install -m 0600 /dev/stdin {https.token_file}"
        token = PrivateFile(f"{key}.https.token_file", https.token_file, "bearer token", made)
        out += Needs(private_files=(token,))
    return out
