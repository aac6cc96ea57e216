"""A network of real processes on this machine: relays on event boards, pairs of endpoints, KMEs.

Every relay is a twin and its daemon, every pair two endpoints and two KMEs, started as `bellrelay
run` starts them. Endpoints take announcements by TLS, as between machines. Light of a relay with
several pairs goes to one after the other, a window in every block; slots and arms are those of a
gameday, so that a block of seconds makes key on a small machine.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bellrelay.cli.daemon_health import health_of
from bellrelay.cli.gameday_files import SHAPES, GamedayShape
from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_delivery import RunningKme, start_kmes
from bellrelay.cli.run_endpoints import ROLES, prepare_endpoints
from bellrelay.cli.run_processes import (
    RunFailed,
    bellrelay_command,
    free_port,
    last_words,
    process,
    stop,
    watch,
)
from bellrelay.cli.run_system import TwinEvents, relay_yaml
from bellrelay_sim.link_config import link_and_geometry

__all__ = [
    "SECURITY",
    "SHAPE",
    "PairOfProcesses",
    "ProcessNetwork",
    "RelayOfProcesses",
    "windows_elsewhere",
]

SHAPE: GamedayShape = SHAPES["event", "bright"]
SECURITY = {"secrecy": 0.01, "correctness": 1e-6, "authentication": 1e-9}
"""Of blocks of seconds: nothing here says how a real link performs."""
_SECRET_BYTES = 1 << 21
_START_S = 120.0
_LONGEST_S = 7200.0
"""Light after which a sender of a shared relay sends nothing any more."""


@dataclass(frozen=True)
class RelayOfProcesses:
    """A relay's twin and daemon. port, health : of the daemon's servers. pairs : that share it."""

    name: str
    folder: Path
    shape: GamedayShape
    pairs: int
    port: int
    health: int
    twin: subprocess.Popen[str]
    daemon: subprocess.Popen[str]
    events: TwinEvents

    @property
    def block_slots(self) -> int:
        """A window of every pair."""
        return self.pairs * self.shape.block_slots

    @property
    def block_s(self) -> float:
        """Light of a block."""
        return self.block_slots * self.shape.slot_period_ps * 1e-12

    @property
    def simulated_s(self) -> float:
        """Light that has been simulated."""
        return self.events.slots * self.shape.slot_period_ps * 1e-12


@dataclass(frozen=True)
class PairOfProcesses:
    """Endpoints and KMEs, by role. health : ports of the endpoints.

    times : by the monotonic clock, when the endpoints were started, and when they were connected.
    """

    name: str
    folder: Path
    relay: RelayOfProcesses
    window: int
    endpoints: dict[str, subprocess.Popen[str]]
    health: dict[str, int]
    kmes: dict[str, RunningKme]
    times: tuple[float, float]


@dataclass
class ProcessNetwork:
    """All of them; :meth:`close` ends them.

    folder : empty, our own. relays_ever, pairs_of_each : how many there may be. shape : of all
    links.
    """

    folder: Path
    relays_ever: int
    pairs_of_each: int
    shape: GamedayShape = SHAPE
    relays: list[RelayOfProcesses] = field(default_factory=list)
    pairs: list[PairOfProcesses] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count()
        names = [f"r{n}" for n in range(self.relays_ever)]
        pairs = [f"{relay}w{n}" for relay in names for n in range(self.pairs_of_each)]
        names += [f"{pair}-{role}" for pair in pairs for role in ROLES]
        make_certificates(self.folder, names)

    def add(self, relays: int, pairs: int) -> None:
        """So many relays more, each with so many pairs; returns when all are connected.

        Raises
        ------
        RunFailed
            A process ended, or does not start in time.
        """
        with ThreadPoolExecutor(relays) as starters:
            added = list(starters.map(lambda _: self.add_relay(pairs), range(relays)))
            wanted = [(relay, window) for relay in added for window in range(pairs)]
            list(starters.map(lambda both: self.add_pair(*both), wanted))
        self.pairs.sort(key=lambda pair: (int(pair.relay.name[1:]), pair.window))

    def add_relay(self, pairs: int) -> RelayOfProcesses:
        """One relay that so many pairs will share; returns when it announces. RunFailed."""
        name = f"r{next(self._numbers)}"
        relay = self._start_relay(name, pairs)
        self.relays.append(relay)
        return relay

    def add_pair(
        self,
        relay: RelayOfProcesses,
        window: int,
        more: Mapping[str, Any] | None = None,
        *,
        kmes: bool = True,
    ) -> PairOfProcesses:
        """A pair in this window of a relay; returns when it is connected.

        Parameters
        ----------
        more
            Further keys of both endpoints' YAML.
        kmes
            Whether they have KMEs.

        Raises
        ------
        RunFailed
            A process ended, or does not start in time.
        """
        pair = self._start_pair(relay, window, more or {}, kmes=kmes)
        self.pairs.append(pair)
        return pair

    def remove(self, relay: RelayOfProcesses) -> None:
        """End a relay with its pairs, at once."""
        mine = [pair for pair in self.pairs if pair.relay is relay]
        for pair in mine:
            self.pairs.remove(pair)
        self.relays.remove(relay)
        running = [relay.twin, relay.daemon]
        running += [each for pair in mine for each in pair.endpoints.values()]
        running += [kme.process for pair in mine for kme in pair.kmes.values()]
        for each in running:
            each.kill()
            each.wait()

    def _start_relay(self, name: str, pairs: int) -> RelayOfProcesses:
        own = self.folder / name
        own.mkdir()
        link_file = own / "link.yaml"
        link_values = {**self.shape.link_values, "seed": 101 + int(name[1:])}
        link_file.write_text(yaml.safe_dump(link_values))
        link, _ = link_and_geometry(link_values)
        port, health = free_port(), free_port()
        values = relay_yaml(link, own, health)
        files = tls_files(self.folder, name)
        tls = {"certificate": files["certificate"], "key": files["key"], "clients_ca": files["ca"]}
        values |= {"relay_id": name, "fan_out": {"listen": f"127.0.0.1:{port}", "tls": tls}}
        values["histogram"]["period_s"] = 1.0
        for detector in values["detectors"]:
            detector["dead_time_ps"] = self.shape.dead_time_ps
        (own / "relay.yaml").write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "bellrelay_sim.twin", "--board", "event", "--realtime"]
        command += ["--config", str(link_file), "--port-link", str(own / "port")]
        command += ["--acquisition-seeds", "--slots", "1e12"]
        twin = self._stack.enter_context(process(command, own / "twin.log"))
        events = TwinEvents(twin)
        events.wait_for("port", _START_S, own / "twin.log")
        command = bellrelay_command("relay", own / "relay.yaml")
        daemon = self._stack.enter_context(process(command, own / "relay.log"))
        _until_running(daemon, own / "relay.log", name, health)
        return RelayOfProcesses(name, own, self.shape, pairs, port, health, twin, daemon, events)

    def _start_pair(
        self, relay: RelayOfProcesses, window: int, more: Mapping[str, Any], *, kmes: bool
    ) -> PairOfProcesses:
        name = f"{relay.name}w{window}"
        own = self.folder / name
        own.mkdir()
        link_file = relay.folder / "link.yaml"
        link, _ = link_and_geometry(yaml.safe_load(link_file.read_text()))
        health = {role: free_port() for role in ROLES}
        source: dict[str, Any] = {"plugin": "simulation", "link": str(link_file)}
        source |= {"acquisition": "each", "removed": windows_elsewhere(relay.pairs, window)}
        keys = {
            role: {
                "relay": {
                    "id": relay.name,
                    "connect": f"127.0.0.1:{relay.port}",
                    "name": relay.name,
                    "tls": tls_files(self.folder, f"{name}-{role}"),
                },
                "source": source,
                "block": {"slots": relay.block_slots, "settle_s": 1.0, "patience_s": 60.0},
                "security": SECURITY,
                "health": {"listen": f"127.0.0.1:{health[role]}"},
                **more,
            }
            for role in ROLES
        }
        prepare_endpoints(
            *(own, link, link_file, None, relay.block_slots, free_port(), 0.01),
            more=keys,
            secret_bytes=_SECRET_BYTES,
        )
        begun_s = time.monotonic()
        endpoints = {
            role: self._stack.enter_context(
                process(bellrelay_command("endpoint", own / f"{role}.yaml"), own / f"{role}.log")
            )
            for role in ROLES
        }
        for role, running in endpoints.items():
            log = own / f"{role}.log"
            _until_running(running, log, f"{role} of {name}", health[role])
        running_s = time.monotonic()
        started = start_kmes(self._stack, own, own / "kme", relay.name) if kmes else {}
        times = begun_s, running_s
        return PairOfProcesses(name, own, relay, window, endpoints, health, started, times)

    def pids(self) -> dict[str, tuple[str, int]]:
        """By a name of its own, every process: what it is, and its number."""
        out = {}
        for relay in self.relays:
            out[f"twin {relay.name}"] = ("twin", relay.twin.pid)
            out[f"relay {relay.name}"] = ("relay", relay.daemon.pid)
        for pair in self.pairs:
            for role, endpoint in pair.endpoints.items():
                out[f"{role} {pair.name}"] = ("endpoint", endpoint.pid)
            for role, kme in pair.kmes.items():
                out[f"kme {role} {pair.name}"] = ("kme", kme.process.pid)
        return out

    def watch(self) -> None:
        """Whether all of them still run. RunFailed: one does not."""
        for relay in self.relays:
            watch(relay.twin, relay.folder / "twin.log", f"twin of {relay.name}")
            watch(relay.daemon, relay.folder / "relay.log", relay.name)
        for pair in self.pairs:
            for role, endpoint in pair.endpoints.items():
                watch(endpoint, pair.folder / f"{role}.log", f"{role} of {pair.name}")
            for role, kme in pair.kmes.items():
                log = pair.folder / "kme" / f"{role}.log"
                watch(kme.process, log, f"{role}'s KME of {pair.name}")

    def end_endpoints(self) -> None:
        """Ask all endpoints to end, and wait. RunFailed: one does not end well."""
        for pair in self.pairs:
            for role in ROLES:
                log = pair.folder / f"{role}.log"
                stop(pair.endpoints[role], log, f"{role} of {pair.name}")

    def close(self) -> None:
        """End everything at once."""
        self._stack.close()


def windows_elsewhere(pairs: int, window: int) -> list[list[int]]:
    """Slots in which the pair of this window of a shared relay sends to nobody; [first, end) each.

    pairs : that share it.
    """
    if pairs == 1:
        return []
    own, block = SHAPE.block_slots, pairs * SHAPE.block_slots
    blocks = round(_LONGEST_S / (block * SHAPE.slot_period_ps * 1e-12))
    edges = [0]
    for n in range(blocks):
        edges += [n * block + window * own, n * block + (window + 1) * own]
    edges.append(1 << 62)
    ranges = zip(edges[::2], edges[1::2], strict=True)
    return [[first, end] for first, end in ranges if first < end]


def _until_running(running: subprocess.Popen[str], log: Path, name: str, port: int) -> None:
    """Until a daemon says that it is, with all that it needs. RunFailed: it does not."""
    end = time.monotonic() + _START_S
    while health_of(port).get("state") != "running":
        watch(running, log, name)
        if time.monotonic() > end:
            raise RunFailed(f"{name} does not run: {last_words(log)}")
        time.sleep(0.1)
