"""What a key costs an application: two KMEs in step, next to a bare server on the same stack.

    python bench/kme.py [--seconds 6] [--clients 1,32,256,1000]

Two `bellrelay kme` processes with SQLite stores, sealed keys and audit logs on this disk, with
every step durable before the next. Clients keep their TLS connections, with certificates on both
sides, and ask one request after the other; half of the masters are at either KME.

The bare server is aiohttp with the same TLS, which answers every request with as many bytes as a
key takes: no router, no store, no other KME. Printed for each number of clients: requests per
second, p50 and p99 of Get key (reserve, adopt at the other KME, deliver: three commits, each with
its line in an audit log) and of Get key with key IDs (one commit), with the ratio of p99 to the
bare server's in the same run. What a written and synced page costs on this disk comes first: that
is what the times of few clients are made of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_processes import free_port
from bellrelay.keys.audit_record import AuditEvent
from bellrelay.keys.kek_file import write_kek_file
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.service.tls import client_context, server_context

SITES = ("kme-a", "kme-b")
PAIRS = 4
UNITS_PER_BLOCK = 8192
_LONGEST_S = 120.0
ANSWER = b'{"keys":[{"key_ID":"' + b"0" * 36 + b'","key":"' + b"0" * 44 + b'"}]}'


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


def serve_bare(folder: str) -> None:
    """The bare server, in a process of its own; prints its port."""
    here = Path(folder)
    context = server_context(here / "kme-a.crt", here / "kme-a.key", here / "ca.crt")

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=ANSWER, content_type="application/json")

    async def main() -> None:
        server = web.Server(handle, access_log=None)
        listening = await asyncio.get_running_loop().create_server(
            server, "127.0.0.1", 0, ssl=context, backlog=4096
        )
        print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


class Connection:
    """One TLS connection that is kept; HTTP by hand, to leave the processor to the servers."""

    def __init__(self, port: int, name: str, context: ssl.SSLContext) -> None:
        self._where = port, name, context
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Connect."""
        port, name, context = self._where
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name, ssl_handshake_timeout=120
        )

    async def get(self, path: str) -> tuple[int, bytes]:
        """Code and body."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: kme\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = head.split("\r\n")
        length = next(int(x[15:]) for x in lines if x.startswith("content-length:"))
        return int(lines[0].split(" ")[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


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


async def bare_client(connection: Connection, times: Times, end: float) -> None:
    """One request after the other."""
    while time.perf_counter() < end:
        begun = time.perf_counter()
        code, _ = await connection.get("/api/v1/keys/sae-b0/enc_keys")
        assert code == 200
        times.add("bare", begun)


async def sae_client(
    master: Connection, slave: Connection, names: tuple[str, str], times: Times, end: float
) -> None:
    """A key on both sides, one after the other."""
    while time.perf_counter() < end:
        begun = time.perf_counter()
        code, body = await master.get(f"/api/v1/keys/{names[1]}/enc_keys")
        if code != 200:
            raise RuntimeError(body.decode())
        times.add("get key", begun)
        (key,) = json.loads(body)["keys"]
        begun = time.perf_counter()
        path = f"/api/v1/keys/{names[0]}/dec_keys?key_ID={key['key_ID']}"
        code, same = await slave.get(path)
        if code != 200 or json.loads(same)["keys"] != [key]:
            raise RuntimeError("the other side's key differs")
        times.add("by key ID", begun)


async def opened(connections: list[Connection]) -> None:
    """All of them, a few at a time."""
    for at in range(0, len(connections), 16):
        await asyncio.gather(*(each.open() for each in connections[at : at + 16]))


def contexts(folder: Path) -> dict[str, ssl.SSLContext]:
    """TLS of every SAE."""
    names = [sae(site, pair) for site in SITES for pair in range(PAIRS)]
    ca = folder / "ca.crt"
    return {n: client_context(folder / f"{n}.crt", folder / f"{n}.key", ca) for n in names}


async def measure_bare(folder: Path, port: int, clients: int, seconds: float) -> Times:
    """The bare server."""
    tls, times = contexts(folder), Times()
    every = [Connection(port, "kme-a", tls[sae("kme-a", i % PAIRS)]) for i in range(clients)]
    await opened(every)
    begun = time.perf_counter()
    await asyncio.gather(*(bare_client(each, times, begun + seconds) for each in every))
    times.seconds = time.perf_counter() - begun
    for each in every:
        each.close()
    return times


async def measure_kmes(folder: Path, ports: list[int], clients: int, seconds: float) -> Times:
    """The two KMEs."""
    tls, times = contexts(folder), Times()
    work = []
    for i in range(clients):
        own, other = (0, 1) if i // PAIRS % 2 == 0 else (1, 0)
        names = sae(SITES[own], i % PAIRS), sae(SITES[other], i % PAIRS)
        master = Connection(ports[own], SITES[own], tls[names[0]])
        slave = Connection(ports[other], SITES[other], tls[names[1]])
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


def started(stack: ExitStack, command: list[str]) -> int:
    """A server; its port, once it says so."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(command)}: did not start")
    return int(json.loads(line)["port"])


def until_running(folder: Path, port: int) -> None:
    """Wait until the KMEs have agreed on their blocks."""

    async def wait() -> None:
        connection = Connection(port, "kme-a", contexts(folder)[sae("kme-a", 0)])
        await connection.open()
        while True:
            code, body = await connection.get(f"/api/v1/keys/{sae('kme-b', 0)}/status")
            if code == 200 and json.loads(body)["stored_key_count"]:
                break
            await asyncio.sleep(0.1)
        connection.close()

    asyncio.run(asyncio.wait_for(wait(), 60))
    time.sleep(2.0)


def _allow_connections(number: int) -> None:
    """Let this process have so many, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


def _within(work: Coroutine[Any, Any, Times]) -> Times:
    """Run it. TimeoutError: a server hangs."""
    return asyncio.run(asyncio.wait_for(work, _LONGEST_S))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--clients", default="1,32,256,1000")
    options = parser.parse_args()
    numbers = [int(word) for word in options.clients.split(",")]
    _allow_connections(2 * max(numbers) + 100)
    # Here, not where memory may pose as a disk.
    with tempfile.TemporaryDirectory(dir=".") as name, ExitStack() as stack:
        folder = Path(name).resolve()
        saes = [sae(site, pair) for site in SITES for pair in range(PAIRS)]
        make_certificates(folder, [*SITES, *saes])
        peer_port = free_port()
        wanted = [free_port() for _ in SITES]
        configs = [
            write_config(folder, site, port, peer_port)
            for site, port in zip(SITES, wanted, strict=True)
        ]
        # More than two cores can give out, so that nobody runs short.
        fill(configs, max(2, round(len(numbers) * options.seconds * 2500 / UNITS_PER_BLOCK)))
        print(f"a page written and synced on this disk: {disk_ms(folder):.2f} ms")
        bellrelay = [sys.executable, "-m", "bellrelay", "kme", "--json", "--config"]
        ports = [started(stack, [*bellrelay, str(path)]) for path in configs]
        bare = started(stack, [sys.executable, __file__, "--bare", str(folder)])
        until_running(folder, ports[0])
        head = f"{'clients':>7} {'':<12}{'1/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'p99 to bare':>13}"
        print(head)
        for clients in numbers:
            of_bare = _within(measure_bare(folder, bare, clients, options.seconds / 2))
            of_kmes = _within(measure_kmes(folder, ports, clients, options.seconds))
            base = of_bare.quantile("bare", 0.99)
            for kind, times in (
                ("bare", of_bare),
                ("get key", of_kmes),
                ("by key ID", of_kmes),
            ):
                p99 = times.quantile(kind, 0.99)
                print(
                    f"{clients:>7} {kind:<12}{times.rate(kind):>8.0f}"
                    f"{times.quantile(kind, 0.5):>9.2f}{p99:>9.2f}{p99 / base:>13.1f}"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        serve_bare(sys.argv[2])
    else:
        main()
