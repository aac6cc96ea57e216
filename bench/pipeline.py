"""Announcements to stored key: two endpoint processes, 20 ms of round trip between them, over TLS.

    python bench/pipeline.py [--blocks 36] [--announced 1.5e6] [--rtt-ms 20]

Announcements and choices are made from a link's probabilities beforehand. What is timed begins with
a relay's fan-out that serves them, and ends with the last key confirmed on both disks: following,
rules of the relay, commitment, sifting, estimation, correction, verification, amplification, tags
of one-time key, states on disk. The two endpoints have the machine's cores to themselves; a process
of its own delays every byte between them by half the round trip.

Printed: sifted key per second of wall time, per second that each endpoint computed and that both
computed together, how much of the machine others took meanwhile, and the ratio of the busier
endpoint's time to correction and amplification alone, in one process without a network. By default
blocks are corrected as an endpoint does by default; with ldpc the first blocks wait for codes that
are built, one for every number of rows.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bellrelay.cli.run_certificates import make_certificates, tls_files
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
from bellrelay_sim.link import SimulatedLink

LADDER = Ladder(s=0.51, mu=0.38, nu=0.083, o=0.0, p_s=0.5, p_mu=0.055, p_nu=0.405)
TARGET = 2e6


def cell_probabilities() -> tuple[np.ndarray, float]:
    """(4, 4, 2, 2, 2): settings, bits, outcome - 1, given an announcement; and its probability."""
    link = SimulatedLink()
    model = link.relay_model()
    cells = np.zeros((4, 4, 2, 2, 2))
    for a in range(4):
        for b in range(4):
            bases = [Basis.Z if setting == 0 else Basis.X for setting in (a, b)]
            light = LADDER.intensities[a], LADDER.intensities[b]
            weight = LADDER.probabilities[a] * LADDER.probabilities[b] / 4
            flip = link.misalignment_z if a == b == 0 else link.misalignment_x
            plus, minus = outcome_probabilities(model, *bases, *light)
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

    def __init__(self, folder: Path, role: str) -> None:
        self._slots = np.load(folder / "slots.npy", mmap_mode="r")
        self.announced = self._slots.size
        self._setting, self._bit = np.load(folder / f"{role}.npy")

    def choices(self, slots):
        first = int(np.searchsorted(self._slots, slots[0]))
        part = slice(first, first + slots.size)
        if not np.array_equal(self._slots[part], slots):
            raise ValueError("not the slots that were announced")
        setting = self._setting[part]
        return Choices(basis_of(setting), setting, self._bit[part])

    def removed(self, _first, _end):
        return no_ranges()

    def sent(self, first, end):
        return end - first

    def forget(self, _before):
        pass

    def close(self):
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

    async def passed(reader, writer):
        queue: asyncio.Queue = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def out():
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

    async def connected(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", plan.ports[0])
        await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", plan.ports[1])
    await server.serve_forever()


async def serve_endpoint(plan: Plan, role: Role, reconcile: str, report) -> None:
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


def in_process(function, *arguments):
    process = multiprocessing.get_context("spawn").Process(
        target=start, args=(function, *arguments), daemon=True
    )
    process.start()
    return process


def start(function, *arguments):
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


def measure(arguments: argparse.Namespace, reconcile: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-") as name:
        folder = Path(name)
        blocks = arguments.blocks
        slots = prepare(folder, int(arguments.announced), blocks)
        make_certificates(folder, ("alice", "bob"))
        secret = os.urandom(1 << 14)
        for role in Role:
            KeyPool.create(folder / f"{role.value}.pool", secret)
        plan = Plan(
            folder, slots, blocks, arguments.rtt_ms / 1e3, arguments.in_flight, free_ports()
        )
        queue = multiprocessing.get_context("spawn").Queue()
        processes = [in_process(serve_relay, plan), in_process(serve_delay, plan)]
        processes += [in_process(serve_endpoint, plan, role, reconcile, queue) for role in Role]
        try:
            for _ in Role:
                assert queue.get(timeout=300)[1] == "ready"
            before = busy_seconds(), sum(cpu_seconds(p.pid) for p in processes)
            (folder / "go").write_text("")
            results = {r[0]: r[1:] for r in (queue.get(timeout=600) for _ in Role)}
            others = busy_seconds() - before[0]
            others -= sum(cpu_seconds(p.pid) for p in processes) - before[1]
        finally:
            for process in processes:
                process.terminate()
                process.join()
    wall = max(r[0] for r in results.values())
    records = results["alice"][2]
    if any(r["state"] != "stored" for r in records):
        raise SystemExit(f"blocks without key: {[r['cause'] for r in records]}")
    if results["alice"][3] != results["bob"][3]:
        raise SystemExit("keys differ")
    sifted = sum(r["sifted_bits"] for r in records)
    key = sum(r["length"] for r in records)
    busier = max(r[1] for r in results.values())
    bits = sifted // blocks
    # What is compiled or built once belongs to nobody's block.
    alone(agreement(plan, reconcile), bits)
    bare = alone(agreement(plan, reconcile), bits) / 2
    leak, least = (sum(r["leak_ec"] for r in records), sum(shannon(r) for r in records))
    print(
        f"{agreement(plan, reconcile).method(bits).name}: {blocks} blocks of {bits:,} sifted bits, "
        f"{arguments.rtt_ms:g} ms round trip; f = {leak / least:.3f}, "
        f"{key / sifted:.3f} bits of key per sifted bit"
    )
    for label, seconds in (
        ("wall time, both endpoints side by side", wall),
        ("processor time of Alice", results["alice"][1]),
        ("processor time of Bob", results["bob"][1]),
        ("processor time of both together", results["alice"][1] + results["bob"][1]),
    ):
        print(f"  {label:42} {seconds:7.2f} s  {sifted / seconds / 1e6:7.2f} Mbit/s of sifted key")
    print(
        f"  others took {others / wall:.2f} of the machine's {os.cpu_count()} cores; of wall time "
        f"{sifted / wall / TARGET:.2f} of the 2 Mbit/s that are asked for"
    )
    print(
        f"  per core (the busier endpoint): {sifted / busier / 1e6:.2f} Mbit/s, "
        f"{sifted / busier / TARGET:.2f} of the 2 Mbit/s that are asked for; "
        f"{bare * blocks / busier:.2f} of its time is what correction and amplification take alone"
    )


def shannon(record) -> float:
    e = record["error_rate_z"]
    return record["sifted_bits"] * float(-e * np.log2(e) - (1 - e) * np.log2(1 - e))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=36)
    parser.add_argument("--announced", type=float, default=1.5e6)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rtt-ms", type=float, default=20.0)
    parser.add_argument("--reconcile", default="auto", help="auto, cascade, ldpc; several with ,")
    arguments = parser.parse_args()
    for reconcile in arguments.reconcile.split(","):
        measure(arguments, reconcile)


if __name__ == "__main__":
    main()
