"""What announcements cost: a relay that logs and serves them, endpoints that take them.

Batches of two sizes are appended to a log, one after the other, with a pause between them so that
none waits for another; a process of its own follows. Processor time of both, with and without
consumers, is a time for a batch and a time for an announcement. What the pauses cost by themselves
is taken off.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.cli.measured_pair import in_process
from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.announcement_rules import AnnouncementBreach, BlockBegun, CollectedBlock
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut
from bellrelay.relay.fanout import FanOutServer
from bellrelay.service.tls import client_context

__all__ = [
    "SLOTS_APART",
    "announcement_rates",
    "computed",
    "following",
    "per_batch",
    "serving",
]

FEW, MANY = 16, 16_384
BATCHES = 300
_PAUSE_S = 0.004
_CONSUMERS = 4
SLOTS_APART = 40
_BLOCK_SLOTS = 10**12
_PATIENCE_S = 120.0


def per_batch(few_s: float, many_s: float, few: int = FEW, many: int = MANY) -> dict[str, float]:
    """A time for a batch and one for each in it, from the times of batches of two sizes."""
    each = max(0.0, (many_s - few_s) / (many - few))
    return {"batch_s": max(0.0, few_s - few * each), "announcement_s": each}


def announcement_rates() -> dict[str, dict[str, float]]:
    """The parts `relay`, `fan_out` and `follow` of a file of rates."""
    with tempfile.TemporaryDirectory(prefix="bellrelay-measure-") as name:
        folder = Path(name)
        make_certificates(folder, ("charles", "alice"))
        seen = {
            (size, consumers): _run(folder / f"{size}-{consumers}", folder, size, consumers)
            for size in (0, FEW, MANY)
            for consumers in (0, _CONSUMERS)
        }
    relay, fan_out, follow = {}, {}, {}
    for size in (FEW, MANY):
        alone = seen[size, 0][0] - seen[0, 0][0]
        relay[size] = alone / BATCHES
        served = seen[size, _CONSUMERS][0] - seen[0, _CONSUMERS][0]
        fan_out[size] = (served - alone) / BATCHES / _CONSUMERS
        followed = seen[size, _CONSUMERS][1] - seen[0, _CONSUMERS][1]
        follow[size] = followed / BATCHES / _CONSUMERS
    return {
        name: per_batch(times[FEW], times[MANY])
        for name, times in (("relay", relay), ("fan_out", fan_out), ("follow", follow))
    }


def _run(own: Path, folder: Path, size: int, consumers: int) -> tuple[float, float]:
    """Processor time of the relay and of all consumers while batches of a size pass."""
    own.mkdir()
    context = multiprocessing.get_context("spawn")
    told, asked = context.Queue(), context.Queue()
    relay = in_process(_relay, own, folder, size, told, asked)
    others = []
    try:
        port = told.get(timeout=_PATIENCE_S)
        follower = None
        if consumers:
            follower = in_process(_follow, folder, port, size, consumers, told)
            others.append(follower)
            told.get(timeout=_PATIENCE_S)
        asked.put("go")
        times = dict(told.get(timeout=_PATIENCE_S) for _ in range(2 if consumers else 1))
    finally:
        for process in (relay, *others):
            process.terminate()
            process.join()
    return times["relay"], times.get("consumers", 0.0)


def computed() -> float:
    """Processor time of this process until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def serving(
    own: Path, certificates: Path, consumers: int = _CONSUMERS
) -> AsyncIterator[tuple[AnnouncementLog, FanOutServer]]:
    """A relay's log in a folder, with its start, and the server of it to so many."""
    log = AnnouncementLog(own / "log")
    log.append_event(1, {"kind": "start"})
    log.sync()
    files = tls_files(certificates, "charles")
    tls = {"certificate": files["certificate"], "key": files["key"], "clients_ca": files["ca"]}
    values = {"listen": "127.0.0.1:0", "tls": tls, "max_consumers": consumers}
    settings = FanOut.model_validate(values)
    server = FanOutServer(settings, "charles", log)
    await server.start()
    try:
        yield log, server
    finally:
        await server.stop()


async def _relay(own: Path, folder: Path, size: int, told: Any, asked: Any) -> None:
    async with serving(own, folder) as (log, server):
        told.put(server.port)
        await asyncio.to_thread(asked.get)
        outcome = np.ones(max(size, 1), np.uint8)
        slot = np.arange(max(size, 1), dtype=np.uint64) * np.uint64(SLOTS_APART)
        step = np.uint64(max(size, 1) * SLOTS_APART)
        before = computed()
        for number in range(BATCHES):
            if size:
                log.append_announcements(1, slot + np.uint64(number) * step, outcome)
                log.sync()
                server.grown()
            await asyncio.sleep(_PAUSE_S)
        while size and any(c.sequence < log.durable_sequence for c in server.consumers):
            await asyncio.sleep(_PAUSE_S)
        told.put(("relay", computed() - before))
        await asyncio.sleep(_PATIENCE_S)


class _Nowhere:
    """Blocks are not looked at."""

    async def begun(self, begun: BlockBegun) -> None:
        """Nothing."""

    async def collected(self, block: CollectedBlock) -> None:
        """Nothing."""

    async def breached(self, breach: AnnouncementBreach) -> None:
        """It must not be."""
        raise RuntimeError(str(breach))


@asynccontextmanager
async def following(
    folder: Path, port: int, consumers: int
) -> AsyncIterator[list[AnnouncementFollower]]:
    """Endpoints' followers of a relay, once all of them are connected."""
    files = tls_files(folder, "alice")
    context = client_context(Path(files["certificate"]), Path(files["key"]), Path(files["ca"]))

    def follower() -> AnnouncementFollower:
        return AnnouncementFollower(
            lambda wish: AnnouncementClient.tcp("127.0.0.1", port, wish, context, "charles"),
            "charles",
            _BLOCK_SLOTS,
        )

    followers = [follower() for _ in range(consumers)]
    async with _tasks([f.run(_Nowhere()) for f in followers]):
        while not all(f.connected for f in followers):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        yield followers


async def _follow(folder: Path, port: int, size: int, consumers: int, told: Any) -> None:
    async with following(folder, port, consumers) as followers:
        told.put("ready")
        before = computed()
        # The start is one record; everything else is what was appended.
        end = 1 + BATCHES * size
        await _until(lambda: all((f.position[0] or 0) >= end for f in followers), size)
        told.put(("consumers", computed() - before))
        await asyncio.sleep(_PATIENCE_S)


async def _until(reached: Callable[[], bool], size: int) -> None:
    if not size:
        await asyncio.sleep(BATCHES * _PAUSE_S)
        return
    while not reached():
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _tasks(work: list[Any]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
