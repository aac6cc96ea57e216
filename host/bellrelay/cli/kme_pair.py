"""Two KMEs on this machine, filled with key, and applications that ask them.

`bench/kme.py`, `bellrelay network measure`, `burst` and `cold-start` run them: SQLite stores,
sealed keys and audit logs on this disk, with every step durable before the next, certificates on
both sides of every connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_processes import free_port
from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.keys.audit_record import AuditEvent
from bellrelay.keys.kek_file import write_kek_file
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.service.tls import client_context

SITES = ("kme-a", "kme-b")
PAIRS = 4
UNITS_PER_BLOCK = 8192


class Unrecorded:
    """An audit log that keeps nothing: the filling of stores is not measured."""

    def record(self, *events: AuditEvent) -> None:
        """Keep nothing."""


def sae(site: str, pair: int) -> str:
    """The SAE of a pair at a site."""
    return f"sae-{site[-1]}{pair}"


def write_config(folder: Path, site: str, port: int, peer_port: int) -> Path:
    """One KME's YAML, and its KEK."""
    own = folder / site
    own.mkdir()
    write_kek_file(own / "kek")
    tls = tls_files(folder, site)
    other = SITES[1 - SITES.index(site)]
    way = "listen" if site == SITES[0] else "connect"
    values = {
        "kme_id": site,
        "listen": f"127.0.0.1:{port}",
        "tls": tls,
        "peer": {"kme_id": other, way: f"127.0.0.1:{peer_port}", "name": other, "tls": tls},
        "pairs": [
            {"name": f"pair-{i}", "saes": {s: sae(s, i) for s in SITES}} for i in range(PAIRS)
        ],
        "limits": {
            "requests_per_s": 100000,
            "burst": 1000000,
            "open_requests": 100000,
            "connections": 100000,
        },
        "store": {"directory": str(own / "store")},
        "kek": {"file": str(own / "kek")},
        "audit": {"directory": str(own / "audit")},
    }
    path = own / "kme.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def fill(configs: Iterable[Path], blocks: int) -> None:
    """The same blocks of key into both stores."""
    made = [(str(uuid.uuid4()), os.urandom(UNITS_PER_BLOCK * 32)) for _ in range(blocks)]
    now = time.time_ns()
    for path in configs:
        store = open_store(load_kme_config(path), Unrecorded())
        for number, (name, bits) in enumerate(made):
            facts = Provenance(name, "charles", 1, number, now, now, 8 * len(bits))
            store.add_block(FinishedKey(facts, bits))
        store.close()


@dataclass
class Times:
    """Seconds of every request of a kind, and for how long they were made."""

    of: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, kind: str, begun: float) -> None:
        """One that ends now."""
        self.of.setdefault(kind, []).append(time.perf_counter() - begun)

    def quantile(self, kind: str, q: float) -> float:
        """Milliseconds."""
        times = sorted(self.of[kind])
        return 1e3 * times[min(len(times) - 1, int(q * len(times)))]

    def rate(self, kind: str) -> float:
        """Per second."""
        return len(self.of[kind]) / self.seconds


async def key_on_both_sides(
    master: SaeConnection, slave: SaeConnection, names: tuple[str, str], times: Times
) -> None:
    """Get key, and the same key by its ID at the other KME."""
    begun = time.perf_counter()
    given = await master.ask("GET", f"/api/v1/keys/{names[1]}/enc_keys")
    if given.code != 200:
        raise RuntimeError(given.body.decode())
    times.add("get key", begun)
    (key,) = json.loads(given.body)["keys"]
    begun = time.perf_counter()
    path = f"/api/v1/keys/{names[0]}/dec_keys?key_ID={key['key_ID']}"
    same = await slave.ask("GET", path)
    if same.code != 200 or json.loads(same.body)["keys"] != [key]:
        raise RuntimeError("the other side's key differs")
    times.add("by key ID", begun)


async def sae_client(
    master: SaeConnection, slave: SaeConnection, names: tuple[str, str], times: Times, end: float
) -> None:
    """A key on both sides, one after the other."""
    while time.perf_counter() < end:
        await key_on_both_sides(master, slave, names, times)


async def opened(connections: list[SaeConnection]) -> None:
    """All of them, a few at a time."""
    for at in range(0, len(connections), 16):
        await asyncio.gather(*(each.open() for each in connections[at : at + 16]))


def contexts(folder: Path) -> dict[str, ssl.SSLContext]:
    """TLS of every SAE."""
    names = [sae(site, pair) for site in SITES for pair in range(PAIRS)]
    ca = folder / "ca.crt"
    return {n: client_context(folder / f"{n}.crt", folder / f"{n}.key", ca) for n in names}


async def measure_kmes(folder: Path, ports: list[int], clients: int, seconds: float) -> Times:
    """The two KMEs."""
    tls, times = contexts(folder), Times()
    work = []
    for i in range(clients):
        own, other = (0, 1) if i // PAIRS % 2 == 0 else (1, 0)
        names = sae(SITES[own], i % PAIRS), sae(SITES[other], i % PAIRS)
        master = SaeConnection(ports[own], SITES[own], tls[names[0]])
        slave = SaeConnection(ports[other], SITES[other], tls[names[1]])
        work.append((master, slave, names))
    every = [connection for master, slave, _ in work for connection in (master, slave)]
    await opened(every)
    begun = time.perf_counter()
    await asyncio.gather(*(sae_client(*each, times, begun + seconds) for each in work))
    times.seconds = time.perf_counter() - begun
    for each in every:
        each.close()
    return times


def disk_ms(folder: Path, number: int = 100) -> float:
    """Milliseconds for a page, written and synced."""
    with (folder / "page").open("wb") as file:
        begun = time.perf_counter()
        for _ in range(number):
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
    return 1e3 * (time.perf_counter() - begun) / number


@dataclass(frozen=True)
class Started:
    """A server's process, and its port."""

    pid: int
    port: int


def started(stack: ExitStack, *commands: list[str]) -> list[Started]:
    """Servers, once each says its port. RuntimeError: one does not."""
    processes = []
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        processes.append(process)
    out = []
    for process, command in zip(processes, commands, strict=True):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)}: did not start")
        out.append(Started(process.pid, int(json.loads(line)["port"])))
    return out


def kme_pair_files(folder: Path, blocks: int) -> list[Path]:
    """Both KMEs' YAML in an empty folder, with all that they name, and so many blocks of key."""
    saes = [sae(site, pair) for site in SITES for pair in range(PAIRS)]
    make_certificates(folder, [*SITES, *saes])
    peer_port = free_port()
    configs = [write_config(folder, site, free_port(), peer_port) for site in SITES]
    fill(configs, blocks)
    return configs


def start_kme_pair(stack: ExitStack, configs: Iterable[Path]) -> list[Started]:
    """Both of them, side by side."""
    bellrelay = [sys.executable, "-m", "bellrelay", "kme", "--json", "--config"]
    return started(stack, *([*bellrelay, str(path)] for path in configs))


@contextlib.contextmanager
def running_kmes(folder: Path, blocks: int) -> Iterator[list[Started]]:
    """Two KMEs in an empty folder, with so many blocks of key in both, in step with each other."""
    configs = kme_pair_files(folder, blocks)
    with ExitStack() as stack:
        kmes = start_kme_pair(stack, configs)
        until_running(folder, kmes[0].port)
        yield kmes


def until_running(folder: Path, port: int) -> None:
    """Wait until the KMEs have agreed on their blocks."""

    async def wait() -> None:
        connection = SaeConnection(port, "kme-a", contexts(folder)[sae("kme-a", 0)])
        await connection.open()
        while True:
            answer = await connection.ask("GET", f"/api/v1/keys/{sae('kme-b', 0)}/status")
            if answer.code == 200 and json.loads(answer.body)["stored_key_count"]:
                break
            await asyncio.sleep(0.1)
        connection.close()

    asyncio.run(asyncio.wait_for(wait(), 60))
    time.sleep(2.0)


def allow_connections(number: int) -> None:
    """Let this process have so many, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))
