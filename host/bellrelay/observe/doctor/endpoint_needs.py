"""What an endpoint's configuration needs."""

from __future__ import annotations

from bellrelay.endpoint.config import EndpointConfig, RelaySettings
from bellrelay.settings.model import split_address
from bellrelay.settings.nats import broker_name

from .needs import (
    Broker,
    Certificates,
    Chain,
    Connection,
    Directory,
    Needs,
    Package,
    PrivateFile,
    Program,
    WatchedDaemon,
)
from .shared_needs import health_needs, monitor_needs, mutual, peer_needs, trace_needs

__all__ = ["endpoint_needs"]

_OF_ITSELF = 128
"""Open files of the daemon: pool, store, sources of every relay, its threads' own."""


def endpoint_needs(config: EndpointConfig) -> Needs:
    """All of it, plugins, pool and store aside."""
    directories = [
        Directory("store.directory", config.store.directory),
        Directory("key_pool.file", config.key_pool.file),
    ]
    if config.changes is not None:
        directories.append(Directory("changes.directory", config.changes.directory))
    if config.watch is not None and config.watch.baseline is not None:
        directories.append(Directory("watch.baseline", config.watch.baseline.parent))
    at = ["relay", *(f"secondaries.{n}" for n in range(len(config.secondaries)))]
    relays = (_relay(*each, config.endpoint_id) for each in zip(at, config.relays, strict=True))
    return sum(
        (*relays, _cluster(config), _watch(config), peer_needs(config.peer, config.peer_id)),
        Needs(directories=tuple(directories), open_files=_OF_ITSELF + 2 * config.workers)
        + health_needs(config.health)
        + trace_needs(config.traces)
        + monitor_needs(config.monitors),
    )


def _relay(key: str, relay: RelaySettings, endpoint_id: str) -> Needs:
    if relay.unix_socket is not None:
        there = Connection(f"{key}.unix_socket", relay.id, relay.unix_socket)
        return Needs(connections=(there,))
    if relay.nats is not None:
        nats = relay.nats
        name = nats.consumer or broker_name(endpoint_id)
        certificates: tuple[Certificates, ...] = ()
        if nats.tls is not None:
            tls = mutual(nats.tls)
            certificates = (Certificates(f"{key}.nats.tls", tls, listens=False, names=False),)
        return Needs(
            certificates,
            brokers=(Broker(f"{key}.nats.servers", nats, name),),
            packages=(Package(f"{key}.nats", "nats"),),
        )
    assert relay.connect is not None
    if relay.tls is None:
        return Needs(connections=(Connection(f"{key}.connect", relay.id, relay.connect),))
    files = mutual(relay.tls)
    name = relay.name or split_address(relay.connect)[0]
    return Needs(
        (Certificates(f"{key}.tls", files, listens=False, names=False),),
        connections=(Connection(f"{key}.connect", relay.id, relay.connect, files, name),),
    )


def _cluster(config: EndpointConfig) -> Needs:
    cluster = config.cluster
    if cluster is None:
        return Needs()
    files = mutual(cluster.tls)
    make = f"bellrelay cluster key {cluster.key_file}, on one machine; carry it to the others"
    return Needs(
        (Certificates("cluster.tls", files, listens=False, chain=Chain.NEEDED, names=False),),
        (PrivateFile("cluster.key_file", cluster.key_file, "key of the cluster's work", make),),
        connections=(Connection("cluster.scheduler", "the scheduler", cluster.scheduler, files),),
        packages=(Package("cluster", "distributed"),),
    )


def _watch(config: EndpointConfig) -> Needs:
    watch = config.watch
    if watch is None:
        return Needs()
    asked = [WatchedDaemon(f"watch.relays.{id_}", id_, url) for id_, url in watch.relays.items()]
    if watch.peer is not None:
        asked.append(WatchedDaemon("watch.peer", config.peer_id, watch.peer))
    asked += [WatchedDaemon(f"watch.kmes.{n}", "a KME", url) for n, url in enumerate(watch.kmes)]
    commands = (("watch.recalibrate", watch.recalibrate), ("watch.contain", watch.contain))
    programs = tuple(Program(key, words[0]) for key, words in commands if words)
    return Needs(watched=tuple(asked), programs=programs)
