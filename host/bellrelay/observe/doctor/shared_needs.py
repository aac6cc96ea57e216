"""What sections need that several daemons have."""

from __future__ import annotations

from urllib.parse import urlsplit

from bellrelay.settings.audit import AuditSettings
from bellrelay.settings.model import Health, MutualTls, split_address
from bellrelay.settings.monitors import MonitorsSettings
from bellrelay.settings.peer import PeerSettings
from bellrelay.settings.traces import TraceSettings

from .needs import (
    Certificates,
    Chain,
    Connection,
    Directory,
    Listening,
    Needs,
    Package,
    PrivateFile,
    TlsFiles,
)

__all__ = [
    "audit_needs",
    "health_needs",
    "https_connection",
    "monitor_needs",
    "mutual",
    "peer_needs",
    "trace_needs",
]

_HTTPS_PORT = {"http": 80, "https": 443}


def mutual(tls: MutualTls) -> TlsFiles:
    """The files of a section."""
    return TlsFiles(*tls.files)


def https_connection(key: str, whom: str, url: str, files: TlsFiles) -> Connection:
    """To the server of a URL; plain where it says so."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _HTTPS_PORT[parts.scheme]
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme == "http":
        return Connection(key, whom, at)
    return Connection(key, whom, at, files, host)


def health_needs(health: Health) -> Needs:
    """/health and /metrics."""
    if health.listen is None:
        return Needs()
    return Needs(listening=(Listening("health.listen", health.listen),))


def peer_needs(peer: PeerSettings, whom: str) -> Needs:
    """The connection between the two sites."""
    files = mutual(peer.tls)
    certificates = (Certificates("peer.tls", files, peer.listen is not None, Chain.USUAL),)
    if peer.listen is not None:
        return Needs(certificates, listening=(Listening("peer.listen", peer.listen),))
    assert peer.connect is not None
    there = Connection("peer.connect", whom, peer.connect, files, peer.name, alone=True)
    return Needs(certificates, connections=(there,))


def monitor_needs(monitors: MonitorsSettings | None) -> Needs:
    """Where lines of monitors come in."""
    if monitors is None:
        return Needs()
    out = Needs(open_files=monitors.max_connections + len(monitors.files))
    if monitors.unix_socket is not None:
        place = Directory("monitors.unix_socket", monitors.unix_socket.parent)
        out += Needs(directories=(place,))
    if monitors.listen is not None:
        out += Needs(listening=(Listening("monitors.listen", monitors.listen),))
    if monitors.tls is not None:
        out += Needs((Certificates("monitors.tls", mutual(monitors.tls), listens=True),))
    return out


def trace_needs(traces: TraceSettings | None) -> Needs:
    """A collector of OpenTelemetry."""
    if traces is None:
        return Needs()
    files = TlsFiles(traces.certificate, traces.key, traces.ca)
    certificates: tuple[Certificates, ...] = ()
    if traces.certificate is not None or traces.ca is not None:
        certificates = (Certificates("traces", files, listens=False, names=False),)
    return Needs(
        certificates,
        connections=(https_connection("traces.otlp", "the collector", traces.otlp, files),),
        packages=(Package("traces", "opentelemetry"),),
    )


def audit_needs(key: str, audit: AuditSettings) -> Needs:
    """An audit log."""
    out = Needs(directories=(Directory(f"{key}.directory", audit.directory),))
    if audit.signing_key is not None:
        make = f"openssl genpkey -algorithm ed25519 -out {audit.signing_key}"
        signs = PrivateFile(
            f"{key}.signing_key", audit.signing_key, "key that signs checkpoints", make
        )
        out += Needs(private_files=(signs,))
    for forward in audit.forward:
        at = f"{key}.forward.{forward.name}"
        if forward.path is not None:
            out += Needs(connections=(Connection(at, "the syslog server", forward.path),))
        if forward.tls is None:
            # A datagram to another machine tells nothing.
            continue
        assert forward.address is not None
        tls = TlsFiles(forward.tls.certificate, forward.tls.key, forward.tls.ca)
        name = forward.server_name or split_address(forward.address)[0]
        out += Needs(
            (Certificates(f"{at}.tls", tls, listens=False, names=False),),
            connections=(Connection(at, "the syslog server", forward.address, tls, name),),
        )
    return out
