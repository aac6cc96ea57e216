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
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from bellrelay.cli.kme_pair import (
    PAIRS,
    UNITS_PER_BLOCK,
    Times,
    allow_connections,
    contexts,
    disk_ms,
    measure_kmes,
    opened,
    running_kmes,
    sae,
    started,
)
from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.service.tls import server_context

_LONGEST_S = 120.0
ANSWER = b'{"keys":[{"key_ID":"' + b"0" * 36 + b'","key":"' + b"0" * 44 + b'"}]}'


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


async def bare_client(connection: SaeConnection, times: Times, end: float) -> None:
    """One request after the other."""
    while time.perf_counter() < end:
        begun = time.perf_counter()
        answer = await connection.ask("GET", "/api/v1/keys/sae-b0/enc_keys")
        assert answer.code == 200
        times.add("bare", begun)


async def measure_bare(folder: Path, port: int, clients: int, seconds: float) -> Times:
    """The bare server."""
    tls, times = contexts(folder), Times()
    every = [SaeConnection(port, "kme-a", tls[sae("kme-a", i % PAIRS)]) for i in range(clients)]
    await opened(every)
    begun = time.perf_counter()
    await asyncio.gather(*(bare_client(each, times, begun + seconds) for each in every))
    times.seconds = time.perf_counter() - begun
    for each in every:
        each.close()
    return times


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
    allow_connections(2 * max(numbers) + 100)
    # Here, not where memory may pose as a disk.
    with tempfile.TemporaryDirectory(dir=".") as name, ExitStack() as stack:
        folder = Path(name).resolve()
        # More than two cores can give out, so that nobody runs short.
        blocks = max(2, round(len(numbers) * options.seconds * 2500 / UNITS_PER_BLOCK))
        print(f"a page written and synced on this disk: {disk_ms(folder):.2f} ms")
        kmes = stack.enter_context(running_kmes(folder, blocks))
        ports = [kme.port for kme in kmes]
        (bare_server,) = started(stack, [sys.executable, __file__, "--bare", str(folder)])
        bare = bare_server.port
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
