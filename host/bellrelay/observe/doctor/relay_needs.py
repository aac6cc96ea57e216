"""What a relay's configuration needs."""

from __future__ import annotations

from bellrelay.relay.config import RelayConfig

from .needs import Broker, Certificates, Directory, Listening, Needs, Package, TlsFiles
from .shared_needs import audit_needs, health_needs, monitor_needs, mutual, trace_needs

__all__ = ["relay_needs"]

_OF_ITSELF = 64
"""Open files of a daemon that serves nobody: its log, its port, libraries."""


def relay_needs(config: RelayConfig) -> Needs:
    """All of it, the board aside."""
    log = Directory("log.directory", config.log.directory, config.log.retention_mb)
    out = Needs(
        directories=(log,), open_files=_OF_ITSELF + config.fan_out.max_consumers
    ) + health_needs(config.health)
    return sum(
        (_fan_out(config), _kept(config), _broker(config), _view(config)),
        out + trace_needs(config.traces) + monitor_needs(config.monitors),
    )


def _fan_out(config: RelayConfig) -> Needs:
    fan_out = config.fan_out
    out = Needs()
    if fan_out.listen is not None:
        out += Needs(listening=(Listening("fan_out.listen", fan_out.listen),))
    if fan_out.tls is not None:
        tls = fan_out.tls
        files = TlsFiles(tls.certificate, tls.key, tls.clients_ca)
        out += Needs((Certificates("fan_out.tls", files, listens=True, ca_name="clients_ca"),))
    if fan_out.unix_socket is not None:
        out += Needs(directories=(Directory("fan_out.unix_socket", fan_out.unix_socket.parent),))
    return out


def _kept(config: RelayConfig) -> Needs:
    found = []
    raw = config.raw_tags
    if raw.stream and raw.directory is not None:
        found.append(Directory("raw_tags.directory", raw.directory, raw.retention_mb))
    if config.calibration is not None:
        found.append(Directory("calibration.directory", config.calibration.directory))
    if config.firmware is not None:
        found.append(Directory("firmware.directory", config.firmware.directory))
    return Needs(directories=tuple(found))


def _broker(config: RelayConfig) -> Needs:
    nats = config.nats
    if nats is None:
        return Needs()
    out = Needs(
        brokers=(Broker("nats.servers", nats, nats.stream_of(config.relay_id)),),
        packages=(Package("nats", "nats"),),
    )
    if nats.tls is not None:
        out += Needs((Certificates("nats.tls", mutual(nats.tls), listens=False, names=False),))
    return out


def _view(config: RelayConfig) -> Needs:
    view = config.view
    if view is None:
        return Needs()
    out = Needs(listening=(Listening("view.listen", view.listen),))
    if view.tls is not None:
        files = TlsFiles(view.tls.certificate, view.tls.key, None)
        out += Needs((Certificates("view.tls", files, listens=True),))
    if view.token_file is not None:
        out += audit_needs("view.audit", config.view_audit)
    return out
