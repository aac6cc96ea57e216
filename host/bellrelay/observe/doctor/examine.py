"""From a daemon's YAML to everything that is found about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bellrelay.endpoint.cluster.config import ClusterConfig
from bellrelay.endpoint.config import EndpointConfig
from bellrelay.keys.kme_config import KmeConfig
from bellrelay.observe.status_file import Kind, daemon_of, is_cluster
from bellrelay.observe.view_tokens import read_tokens
from bellrelay.relay.config import RelayConfig
from bellrelay.service.credentials import with_own_credentials
from bellrelay.settings.load import load, read_values
from bellrelay.settings.model import ConfigError, FileModel, Health

from .addresses import check_addresses
from .certificates import check_certificates
from .clock import check_clock
from .cluster_needs import cluster_needs
from .directories import check_directories
from .endpoint_key import check_block_store, check_key_pool, check_plugins
from .endpoint_needs import endpoint_needs
from .finding import Finding, State, failed, passed
from .kme_needs import kme_needs
from .kme_store import check_kme_store
from .needs import Needs
from .open_files import check_open_files
from .packages import check_packages, check_programs
from .private_files import check_private_files
from .reaching import check_reaching
from .relay_board import check_relay_board
from .relay_needs import relay_needs
from .running import Running, ask_running, check_daemon

__all__ = ["Examination", "examine"]

_CHECK = "file"
_CLUSTER = "cluster"
_MODELS: dict[str, type[FileModel]] = {
    Kind.RELAY: RelayConfig,
    Kind.ENDPOINT: EndpointConfig,
    Kind.KME: KmeConfig,
    _CLUSTER: ClusterConfig,
}


@dataclass(frozen=True)
class Examination:
    """What was found about one file. kind, name : of its daemon; empty if that cannot be told."""

    path: Path
    kind: str
    name: str
    findings: tuple[Finding, ...]

    def of(self, state: State) -> list[Finding]:
        """Those that are so."""
        return [finding for finding in self.findings if finding.state == state]

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "name": self.name,
            "findings": [finding.as_json() for finding in self.findings],
        }


def examine(path: Path) -> Examination:
    """Look at everything that a file names. Nothing is changed, and no secret is told."""
    try:
        kind, name = _whose(path)
    except ConfigError as error:
        return Examination(path, "", "", tuple(_faults(error, "docs/how-to/run-daemons.md")))
    try:
        config = with_own_credentials(load(_MODELS[kind], path))
    except ConfigError as error:
        page = f"docs/reference/{kind}-config.md has every key"
        return Examination(path, kind, name, tuple(_faults(error, page)))
    return Examination(path, kind, name, tuple(_findings(config, name)))


def _whose(path: Path) -> tuple[str, str]:
    """Kind and name. ConfigError: it is no daemon's file."""
    found = daemon_of(path)
    if found is None:
        wanted = "the file of a daemon: relay_id, endpoint_id or kme_id"
        raise ConfigError([f"{path}: the whole file; allowed: {wanted}"])
    kind, name = found
    if is_cluster(read_values(path)):
        return _CLUSTER, name
    return kind, name


def _faults(error: ConfigError, page: str) -> Iterator[Finding]:
    for line in error.lines:
        yield failed(_CHECK, line, page, error)


def _findings(config: FileModel, name: str) -> Iterator[Finding]:
    yield passed(_CHECK, "every key and value is allowed")
    if isinstance(config, RelayConfig):
        lock = config.log.directory / "lock"
        running = _running(config.health, "relay_id", name, lock)
        needs = relay_needs(config)
        yield from check_daemon(config, Kind.RELAY, name, running)
        yield from _on_disk(config, needs)
        yield from _view_tokens(config)
        yield from check_relay_board(config, running)
    elif isinstance(config, EndpointConfig):
        lock = config.key_pool.file / "lock"
        running = _running(config.health, "endpoint_id", name, lock)
        needs = endpoint_needs(config)
        yield from check_daemon(config, Kind.ENDPOINT, name, running)
        yield from _on_disk(config, needs)
        yield from check_plugins(config)
        yield from check_key_pool(config, running)
        yield from check_block_store(config)
    elif isinstance(config, KmeConfig):
        running = _running(config.health, "kme_id", name)
        needs = kme_needs(config)
        yield from check_daemon(config, Kind.KME, name, running)
        yield from _on_disk(config, needs)
        keks = tuple(file for file in needs.private_files if file.key.startswith("kek."))
        yield from check_kme_store(config, keks)
    else:
        assert isinstance(config, ClusterConfig)
        running = _running(config.health, "endpoint_id", name)
        needs = cluster_needs(config)
        yield from check_daemon(config, None, name, running)
        yield from _on_disk(config, needs)
    yield from _around(config, needs, running)


def _running(health: Health, id_key: str, name: str, lock: Path | None = None) -> Running | None:
    return asyncio.run(ask_running(health, id_key, name, lock))


def _on_disk(config: FileModel, needs: Needs) -> Iterator[Finding]:
    """What every daemon needs of its machine."""
    yield from check_packages(needs.packages)
    yield from check_programs(config, needs.programs)
    yield from check_private_files(needs.private_files)
    yield from check_certificates(config, needs.certificates)
    yield from check_directories(needs.directories)


def _around(config: FileModel, needs: Needs, running: Running | None) -> Iterator[Finding]:
    """Clock, limits, and the network."""
    yield from check_clock()
    yield from check_open_files(needs.open_files)
    addresses = list(check_addresses(config, needs.listening, running))
    yield from addresses
    # Who has an address of ours may be our own daemon, which cannot be asked.
    calls = running is None and all(each.state is State.PASSED for each in addresses)
    yield from asyncio.run(
        check_reaching(needs.connections, needs.brokers, needs.watched, running, calls=calls)
    )


def _view_tokens(config: RelayConfig) -> Iterator[Finding]:
    view = config.view
    if view is None or view.token_file is None:
        return
    check = "private files"
    try:
        people = read_tokens(view.token_file)
    except (ConfigError, OSError) as error:
        yield failed(check, error, "docs/how-to/live-view.md", error)
    else:
        yield passed(
            check, f"view.token_file: {view.token_file}: {len(people)} may change settings"
        )
