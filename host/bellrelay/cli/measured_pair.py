"""Two endpoint processes that distil announcements made beforehand, and what they took for it.

`bench/pipeline.py` and `bellrelay network measure` run them. Announcements and choices are drawn
from a link's probabilities; a relay's fan-out serves them, and a process of its own delays every
byte between the two endpoints by half a round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_processes import RunFailed
from bellrelay.distill.amplify import toeplitz_hash
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Role, exchange
from bellrelay.distill.security import Security
from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.key_pool import KeyPool, Reserve
from bellrelay.endpoint.peer_channel import PeerChannel
from bellrelay.endpoint.peer_session import PeerSession
from bellrelay.endpoint.pipeline import Pipeline, PipelineSettings
from bellrelay.endpoint.pool_account import PoolAccount
from bellrelay.endpoint.slot_ranges import no_ranges
from bellrelay.endpoint.source_log import Choices, basis_of
from bellrelay.physics import Basis
from bellrelay.physics.gains import outcome_probabilities
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut
from bellrelay.relay.fanout import FanOutServer
from bellrelay.service.peer_connection import peer_connection
from bellrelay.settings.peer import PeerSettings
from bellrelay.wire.outcomes import Outcome

__all__ = ["LADDER", "Distilled", "Plan", "agreement", "alone", "busy_seconds", "distilled"]

LADDER = Ladder(s=0.51, mu=0.38, nu=0.083, o=0.0, p_s=0.5, p_mu=0.055, p_nu=0.405)


def cell_probabilities() -> tuple[np.ndarray, float]:
    """(4, 4, 2, 2, 2): settings, bits, outcome - 1, given an announcement; and its probability."""
    from bellrelay_sim.link import SimulatedLink

    link = SimulatedLink()
    model = link.relay_model()
    cells = np.zeros((4, 4, 2, 2, 2))
    for a in range(4):
        for b in range(4):
            bases = [Basis.Z if setting == 0 else Basis.X for setting in (a, b)]
            light = LADDER.intensities[a], LADDER.intensities[b]
            weight = LADDER.probabilities[a] * LADDER.probabilities[b] / 4
            flip = link.misalignment_z if a == b == 0 else link.misalignment_x
            plus, minus = outcome_probabilities(model, bases[0], bases[1], light[0], light[1])
            for outcome, p in ((Outcome.PSI_PLUS, plus), (Outcome.PSI_MINUS, minus)):
                cells[a, b, :, :, outcome - 1] = weight * ((1 - flip) * p + flip * p[:, ::-1])
    total = float(cells.sum())
    return cells / total, total


def prepare(folder: Path, announced: int, blocks: int) -> int:
    """Write the relay's log and both parties' records; slots of a block."""
    rng = np.random.default_rng(7)
    cells, rate = cell_probabilities()
    block_slots = int(announced / rate)
    parts = []
    log = AnnouncementLog(folder / "log")
    log.append_event(1, {"kind": "start"})
    for block in range(blocks):
        slots = np.unique(rng.integers(0, block_slots, announced, np.uint64))
        slots += np.uint64(block * block_slots)
        chosen = rng.choice(cells.size, slots.size, p=cells.ravel())
        cell = [x.astype(np.uint8) for x in np.unravel_index(chosen, cells.shape)]
        log.append_announcements(1, slots, cell[4] + np.uint8(1))
        parts.append((slots, *cell[:4]))
    slots, a, b, bit_a, bit_b = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    np.save(folder / "slots.npy", slots)
    for role, setting, bit in (("alice", a, bit_a), ("bob", b, bit_b)):
        np.save(folder / f"{role}.npy", np.stack([setting, bit]))
    log.append_event(1, {"kind": "heartbeat", "cut_slot": blocks * block_slots})
    log.sync()
    log.close()
    return block_slots


class Records:
    """What one party sent, from a file."""

    acquisition = 1
    start_ns = 0
    intensities = LADDER.intensities
    probabilities = LADDER.probabilities
    kept = (0, 1 << 62)
    slot_period_ps = 0.0

    def __init__(self, folder: Path, role: str) -> None:
        self._slots = np.load(folder / "slots.npy", mmap_mode="r")
        self.announced = self._slots.size
        self._setting, self._bit = np.load(folder / f"{role}.npy")

    def choices(self, slots: np.ndarray) -> Choices:
        first = int(np.searchsorted(self._slots, slots[0]))
        part = slice(first, first + slots.size)
        if not np.array_equal(self._slots[part], slots):
            raise ValueError("not the slots that were announced")
        setting = self._setting[part]
        return Choices(basis_of(setting), setting, self._bit[part])

    def removed(self, _first: int, _end: int) -> np.ndarray:
        return no_ranges()

    def sent(self, first: int, end: int) -> int:
        return end - first

    def forget(self, _before: int) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Plan:
    """What all processes know."""

    folder: Path
    block_slots: int
    blocks: int
    rtt_s: float
    in_flight: int
    ports: tuple[int, int]


def agreement(plan: Plan, reconcile: str) -> Agreement:
    return Agreement(
        "alice", "bob", "charles", plan.block_slots, LADDER, LADDER, Security(), reconcile
    )


async def serve_relay(plan: Plan) -> None:
    log = AnnouncementLog(plan.folder / "log")
    server = FanOutServer(FanOut(unix_socket=plan.folder / "relay"), "charles", log)
    await server.start()
    await asyncio.sleep(3600)


async def serve_delay(plan: Plan) -> None:
    """Pass bytes on between both endpoints, each half a round trip later."""

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def out() -> None:
            while (item := await queue.get()) is not None:
                await asyncio.sleep(max(0.0, item[0] - loop.time()))
                writer.write(item[1])
                await writer.drain()

        task = asyncio.ensure_future(out())
        while data := await reader.read(1 << 18):
            queue.put_nowait((loop.time() + plan.rtt_s / 2, data))
        queue.put_nowait(None)
        await task
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", plan.ports[0])
        await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", plan.ports[1])
    await server.serve_forever()


async def serve_endpoint(plan: Plan, role: Role, reconcile: str, report: Any) -> None:
    name, folder = role.value, plan.folder
    peer = "bob" if role is Role.ALICE else "alice"
    way = {"listen": f"127.0.0.1:{plan.ports[0]}"}
    if role is Role.BOB:
        way = {"connect": f"127.0.0.1:{plan.ports[1]}"}
    connection = peer_connection(
        PeerSettings.model_validate({"name": peer, "tls": tls_files(folder, name), **way})
    )
    agreed = agreement(plan, reconcile)
    store = BlockStore(folder / name, name)
    pool = KeyPool(folder / f"{name}.pool", role, reserve=Reserve(0))
    account = PoolAccount(pool, store)
    records = Records(folder, name)
    pipeline = Pipeline(
        role,
        agreed,
        store,
        pool,
        lambda _acquisition: records,
        ThreadPoolExecutor(1),
        PipelineSettings(
            max_in_flight=plan.in_flight,
            max_waiting=plan.in_flight + 4,
            afford=account.afford,
            ended=account.ended,
            stored=account.stored,
            shared=account.shared,
            error_rate=0.006,
        ),
    )
    session = PeerSession(0 if role is Role.ALICE else 1, agreed.digest)
    channel = PeerChannel(session, connection.connection, pipeline)
    pipeline.attach(channel)
    await connection.start()
    # Compile what will be timed, and build codes: a daemon does so with its first block.
    alone(agreed, int(0.6 * records.announced / plan.blocks))
    report.put((name, "ready"))
    while not (folder / "go").exists():
        await asyncio.sleep(0.01)
    used = resource.getrusage(resource.RUSAGE_SELF)
    begin, cpu = time.monotonic(), used.ru_utime + used.ru_stime
    follower = AnnouncementFollower(
        lambda wish: AnnouncementClient.unix(folder / "relay", wish), "charles", plan.block_slots
    )
    tasks = [
        asyncio.ensure_future(t) for t in (pipeline.run(), channel.run(), follower.run(pipeline))
    ]
    while True:
        done, _ = await asyncio.wait(tasks, timeout=0.02)
        for task in done:
            task.result()
        rows = store.blocks() if store.counts().get("collecting", 0) <= 1 else []
        if sum(r.state.final for r in rows) >= plan.blocks:
            break
    used = resource.getrusage(resource.RUSAGE_SELF)
    report.put(
        (
            name,
            time.monotonic() - begin,
            used.ru_utime + used.ru_stime - cpu,
            most_memory_mb(),
            [
                dict(r.record) | {"state": r.state.word, "cause": r.cause}
                for r in rows
                if r.state.final
            ],
            [(k.key_id, k.packed) for k in store.keys()],  # noqa: SIM118
        )
    )
    await asyncio.sleep(1.0)  # so that the last verdict reaches the peer


def alone(agreed: Agreement, bits: int, error_rate: float = 0.006) -> float:
    """Seconds of processor time for correction and amplification of so many bits, both sides."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2, bits).astype(np.uint8)
    b = a ^ (rng.random(bits) < error_rate).astype(np.uint8)
    begin = time.process_time()
    engine = agreed.method(bits).engine
    seed = os.urandom(32)
    alice = engine(Role.ALICE, a, seed, error_rate)
    bob = engine(Role.BOB, b, seed, error_rate)
    exchange(alice, bob)
    length = bits // 2
    toeplitz = rng.integers(0, 2, bits + length - 1).astype(np.uint8)
    toeplitz_hash(bob.bits, toeplitz, length)
    toeplitz_hash(alice.bits, toeplitz, length)
    return time.process_time() - begin


def busy_seconds() -> float:
    """Seconds that all cores have computed, of every process; 0 where nobody counts."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, interrupt, soft = map(int, fields[:7])
    return (user + nice + system + interrupt + soft) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Seconds that a process has computed; 0 where nobody counts."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def most_memory_mb() -> float:
    """That this process has had at once; `getrusage` would tell that of who started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM:")) / 1024.0


def in_process(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=start, args=(function, *arguments), daemon=True
    )
    process.start()
    return process


def start(function: Callable[..., Any], *arguments: Any) -> None:
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(function(*arguments))


def free_ports() -> tuple[int, int]:
    import socket

    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@dataclass(frozen=True)
class Distilled:
    """What a run of two endpoints took.

    cpu_s : of each role. wall_s : of both, side by side. records : Alice's, of every block.
    others_s : processor time that the machine spent on other things meanwhile. memory_mb : the most
    of each role. log_bytes : of the relay's log.
    """

    plan: Plan
    cpu_s: Mapping[str, float]
    wall_s: float
    records: tuple[Mapping[str, Any], ...]
    others_s: float
    memory_mb: Mapping[str, float]
    log_bytes: int

    @property
    def sifted(self) -> int:
        """Bits of sifted key, all blocks."""
        return sum(r["sifted_bits"] for r in self.records)


def distilled(
    announced: int, blocks: int, rtt_s: float, in_flight: int = 16, reconcile: str = "auto"
) -> Distilled:
    """Run both endpoints until every block is key on both sides.

    Raises
    ------
    RunFailed
        A block has no key, or the keys differ.
    """
    with tempfile.TemporaryDirectory(prefix="bellrelay-pair-") as name:
        folder = Path(name)
        slots = prepare(folder, announced, blocks)
        log_bytes = sum(f.stat().st_size for f in (folder / "log").rglob("*") if f.is_file())
        make_certificates(folder, ("alice", "bob"))
        secret = os.urandom(1 << 14)
        for role in Role:
            KeyPool.create(folder / f"{role.value}.pool", secret)
        plan = Plan(folder, slots, blocks, rtt_s, in_flight, free_ports())
        queue = multiprocessing.get_context("spawn").Queue()
        with _running(plan, reconcile, queue) as processes:
            for _ in Role:
                if queue.get(timeout=300)[1] != "ready":
                    raise RunFailed("an endpoint is not ready")
            before = busy_seconds(), sum(cpu_seconds(p.pid or 0) for p in processes)
            (folder / "go").write_text("")
            results = {r[0]: r[1:] for r in (queue.get(timeout=600) for _ in Role)}
            others = busy_seconds() - before[0]
            others -= sum(cpu_seconds(p.pid or 0) for p in processes) - before[1]
    records = tuple(results["alice"][3])
    if any(r["state"] != "stored" for r in records):
        raise RunFailed(f"blocks without key: {[r['cause'] for r in records]}")
    if results["alice"][4] != results["bob"][4]:
        raise RunFailed("keys differ")
    return Distilled(
        plan,
        {name: r[1] for name, r in results.items()},
        max(r[0] for r in results.values()),
        records,
        others,
        {name: r[2] for name, r in results.items()},
        log_bytes,
    )


@contextlib.contextmanager
def _running(plan: Plan, reconcile: str, queue: Any) -> Iterator[list[BaseProcess]]:
    processes = [in_process(serve_relay, plan), in_process(serve_delay, plan)]
    processes += [in_process(serve_endpoint, plan, role, reconcile, queue) for role in Role]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
            process.join()
