"""All applications ask at once; a relay has very much at once: what real processes make of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.cli.kme_pair import (
    PAIRS,
    SITES,
    UNITS_PER_BLOCK,
    Times,
    allow_connections,
    contexts,
    key_on_both_sides,
    opened,
    running_kmes,
    sae,
)
from bellrelay.cli.measured_announcements import (
    SLOTS_APART,
    computed,
    following,
    serving,
)
from bellrelay.cli.measured_pair import in_process, most_memory_mb
from bellrelay.cli.run_certificates import make_certificates
from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.cli.text_table import print_table
from bellrelay.control.capacity.rates_file import Rates

__all__ = ["burst", "print_burst"]

_PATIENCE_S = 300.0
_BATCH = 16_384


def burst(
    clients: int, keys: int, announcements: int, consumers: int, rates: Rates
) -> dict[str, Any]:
    """The object that `network burst --json` prints.

    Beside what was seen, what the model says such a burst takes: work over the one core of the
    process that is fullest.

    Parameters
    ----------
    clients, keys
        Applications, and keys that each asks for, one request each.
    announcements, consumers
        That a relay has all at once, and endpoints that follow it.
    """
    told = {
        "keys": keys_at_once(clients, keys),
        "announcements": announcements_at_once(announcements, consumers),
    }
    kme = rates.kme
    # The fullest of two KMEs: half of the masters are at it, and half of the slaves.
    each_s = sum(r.seconds(1.0) for r in (kme.get, kme.adopt, kme.fetch)) / 2.0
    told["keys"]["model_s"] = clients * keys * each_s
    served = rates.relay.seconds(_BATCH) + consumers * rates.fan_out.seconds(_BATCH)
    told["announcements"]["model_s"] = told["announcements"]["batches"] * served
    return told


def keys_at_once(clients: int, keys: int) -> dict[str, Any]:
    """Masters at both KMEs ask at the same moment, and their slaves fetch."""
    allow_connections(2 * clients + 100)
    # Here, not where memory may pose as a disk.
    with tempfile.TemporaryDirectory(dir=".", prefix=".bellrelay-burst-") as name:
        folder = Path(name).resolve()
        blocks = max(2, -(-2 * clients * keys // UNITS_PER_BLOCK) + 1)
        with running_kmes(folder, blocks) as kmes:
            return asyncio.run(_asked(folder, [k.port for k in kmes], clients, keys))


async def _asked(folder: Path, ports: Sequence[int], clients: int, keys: int) -> dict[str, Any]:
    tls, times = contexts(folder), Times()
    work = []
    for i in range(clients):
        own, other = (0, 1) if i % 2 == 0 else (1, 0)
        names = sae(SITES[own], i // 2 % PAIRS), sae(SITES[other], i // 2 % PAIRS)
        master = SaeConnection(ports[own], SITES[own], tls[names[0]])
        slave = SaeConnection(ports[other], SITES[other], tls[names[1]])
        work.append((master, slave, names))
    await opened([c for master, slave, _ in work for c in (master, slave)])
    begun = time.perf_counter()

    async def ask(master: SaeConnection, slave: SaeConnection, names: tuple[str, str]) -> None:
        for _ in range(keys):
            await key_on_both_sides(master, slave, names, times)

    await asyncio.gather(*(ask(*each) for each in work))
    times.seconds = time.perf_counter() - begun
    for master, slave, _ in work:
        master.close()
        slave.close()
    return {
        "clients": clients,
        "keys": len(times.of["get key"]),
        "seconds": times.seconds,
        "keys_per_s": times.rate("get key"),
        **{
            kind.replace(" ", "_") + "_ms": {
                "p50": times.quantile(kind, 0.5),
                "p99": times.quantile(kind, 0.99),
                "most": times.quantile(kind, 1.0),
            }
            for kind in times.of
        },
    }


def announcements_at_once(number: int, consumers: int) -> dict[str, Any]:
    """A relay writes them down as fast as it can, and serves them to endpoints that follow."""
    batches = max(1, number // _BATCH)
    context = multiprocessing.get_context("spawn")
    told, asked = context.Queue(), context.Queue()
    with tempfile.TemporaryDirectory(dir=".", prefix=".bellrelay-burst-") as name:
        folder = Path(name).resolve()
        make_certificates(folder, ("charles", "alice"))
        relay = in_process(_relay, folder, batches, consumers, told, asked)
        others = []
        try:
            port = told.get(timeout=_PATIENCE_S)
            end = 1 + batches * _BATCH
            others.append(in_process(_consumers, folder, port, end, consumers, told))
            told.get(timeout=_PATIENCE_S)
            asked.put("go")
            seen = dict(told.get(timeout=_PATIENCE_S) for _ in range(2))
        finally:
            for process in (relay, *others):
                process.terminate()
                process.join()
    written, followed = seen["relay"], seen["consumers"]
    announced = batches * _BATCH
    return {
        "announcements": announced,
        "batches": batches,
        "consumers": consumers,
        "written_s": written["seconds"],
        "followed_s": followed["at"] - written["began"],
        "announcements_per_s": announced / (followed["at"] - written["began"]),
        "relay_cpu_s": written["cpu_s"],
        "consumers_cpu_s": followed["cpu_s"],
        "relay_memory_mb": written["memory_mb"],
        "consumers_memory_mb": followed["memory_mb"],
    }


async def _relay(folder: Path, batches: int, consumers: int, told: Any, asked: Any) -> None:
    async with serving(folder, folder, consumers) as (log, server):
        told.put(server.port)
        await asyncio.to_thread(asked.get)
        outcome = np.ones(_BATCH, np.uint8)
        slot = np.arange(_BATCH, dtype=np.uint64) * np.uint64(SLOTS_APART)
        step = np.uint64(_BATCH * SLOTS_APART)
        began, before = time.time(), computed()
        for number in range(batches):
            log.append_announcements(1, slot + np.uint64(number) * step, outcome)
            log.sync()
            server.grown()
            await asyncio.sleep(0)
        seconds = time.time() - began
        while any(c.sequence < log.durable_sequence for c in server.consumers):
            await asyncio.sleep(0.01)
        seen = {"began": began, "seconds": seconds, "cpu_s": computed() - before}
        told.put(("relay", seen | {"memory_mb": most_memory_mb()}))
        await asyncio.sleep(_PATIENCE_S)


async def _consumers(folder: Path, port: int, end: int, consumers: int, told: Any) -> None:
    async with following(folder, port, consumers) as followers:
        told.put("ready")
        before = computed()
        while any((f.position[0] or 0) < end for f in followers):
            await asyncio.sleep(0.01)
        seen = {"at": time.time(), "cpu_s": computed() - before, "memory_mb": most_memory_mb()}
        told.put(("consumers", seen))
        await asyncio.sleep(_PATIENCE_S)


def print_burst(told: dict[str, Any]) -> None:
    """For a person."""
    keys, announced = told["keys"], told["announcements"]
    rows = [
        ["applications at once", str(keys["clients"])],
        ["keys, fetched on both sides", str(keys["keys"])],
        ["until the last, s", f"{keys['seconds']:.2f}"],
        ["the model's work on one core, s", f"{keys['model_s']:.2f}"],
        ["keys /s", f"{keys['keys_per_s']:.0f}"],
        *(
            [f"{text}: p50, p99, most, ms", ", ".join(f"{keys[key][q]:.0f}" for q in keys[key])]
            for text, key in (("Get key", "get_key_ms"), ("by key ID", "by_key_ID_ms"))
        ),
    ]
    print_table("keys for everybody at once", ["", "seen"], rows, text=())
    rows = [
        ["announcements at once", f"{announced['announcements']:,}"],
        ["endpoints that follow", str(announced["consumers"])],
        ["until all are written, s", f"{announced['written_s']:.2f}"],
        ["until all have all, s", f"{announced['followed_s']:.2f}"],
        ["the model's work of the relay, s", f"{announced['model_s']:.2f}"],
        ["announcements /s to each", f"{announced['announcements_per_s']:,.0f}"],
        ["memory: relay, endpoints, MB",
         f"{announced['relay_memory_mb']:.0f}, {announced['consumers_memory_mb']:.0f}"],
    ]  # fmt: skip
    print_table("announcements, all at once", ["", "seen"], rows, text=())
