"""Announcements through a NATS broker, from one relay to four endpoints, beside its own rate.

    python bench/nats_broker.py [seconds]

On loopback, each party in a process of its own: nats-server, the relay (its log and publisher, as
the daemon has them) and four endpoints (subscription and block collector, as the daemon has them).
First the broker alone is measured with the raw client: messages that it stores and acknowledges per
second, one by one and with many under way, and what a consumer takes. Then the relay's log is
published, for several values of `nats.batch_kib`, as it grows: all that is asked for is that all
four endpoints have collected every block. A message has whole records of the log, so small ones are
as large as those.

Where time goes is CPU seconds of every process. The announcements are those of a bright link: a
record in 20 slots.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bellrelay.endpoint.announcement_rules import BlockBegun, CollectedBlock
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.nats_batch import subject_of
from bellrelay.relay.nats_client import NatsAnnouncements
from bellrelay.relay.nats_publisher import NatsPublisher
from bellrelay.relay.nats_settings import NatsRetention, NatsSettings
from bellrelay.relay.nats_stream import make_stream

ENDPOINTS = 4
BLOCK = 20_000_000
PIECE = 10_000
STEP = 20
SIZES_KIB = (4, 16, 64, 256, 832)
_PAGES = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _PAGES


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Server:
    """nats-server with one file-backed store."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        text = f'listen: "127.0.0.1:{self.port}"\njetstream: {{store_dir: "{folder}/store"}}\n'
        (folder / "nats.conf").write_text(text)
        program = shutil.which("nats-server")
        if program is None:
            raise SystemExit("nats-server is not installed: apt-get install nats-server")
        words = [program, "--config", str(folder / "nats.conf"), "--log", str(folder / "log")]
        self.process = subprocess.Popen(words)

    def settings(self, **changes: object) -> NatsSettings:
        values = {"servers": [f"127.0.0.1:{self.port}"], "plain": True, "stream": "bench"}
        return NatsSettings.model_validate({**values, **changes})

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


async def stored(server: Server) -> tuple[int, int]:
    """Messages in the stream, and their bytes."""
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    state = (await client.jsm().stream_info("bench")).state
    await client.close()
    return state.messages, state.bytes


async def fresh(server: Server) -> None:
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await client.jsm().delete_stream("bench")
    await client.close()
    await make_stream(server.settings(), "bench", NatsRetention(mb=4096))


# ------------------------------------------------------------------------------- the broker alone


async def raw_rates(server: Server, size: int, seconds: float) -> tuple[float, float, float]:
    """Messages per second: acknowledged one by one, with 64 under way, and read."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    await fresh(server)
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", pending_size=64 << 20)
    js = client.jetstream(timeout=10)
    payload = os.urandom(size)
    begun, stored = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds / 2:
        await js.publish(subject_of("bench"), payload)
        stored += 1
    one_by_one = stored / (time.perf_counter() - begun)
    begun, more = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds / 2:
        await asyncio.gather(*(js.publish(subject_of("bench"), payload) for _ in range(64)))
        more += 64
    many = more / (time.perf_counter() - begun)
    config = ConsumerConfig(name="raw", durable_name="raw", ack_policy=AckPolicy.NONE)
    await js.add_consumer("bench", config)
    consumer = await js.pull_subscribe_bind("raw", "bench")
    begun, taken = time.perf_counter(), 0
    while taken < stored + more and time.perf_counter() - begun < seconds:
        taken += len(await consumer.fetch(min(64, stored + more - taken), timeout=5))
    read = taken / (time.perf_counter() - begun)
    await client.close()
    return one_by_one, many, read


# ------------------------------------------------------------------------------- the parties


def relay_process(folder: Path, settings: NatsSettings, seconds: float, pipe: Connection) -> None:
    """Appends for so long, as fast as the broker takes it; then tells."""
    asyncio.run(_relay(folder, settings, seconds, pipe))


async def _relay(folder: Path, settings: NatsSettings, seconds: float, pipe: Connection) -> None:
    log = AnnouncementLog(folder / "log", retention_bytes=16 << 30)
    log.append_event(1, {"kind": "start"})
    log.sync()
    publisher = NatsPublisher(settings, "charlie", log)
    await publisher.start()
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    steps = np.arange(PIECE, dtype=np.uint64) * np.uint64(STEP)
    outcome = np.random.default_rng(1).integers(1, 3, PIECE).astype(np.uint8)
    said, append_s = 0, 0.0
    begun, cpu = time.time(), own_cpu()
    while time.time() - begun < seconds:
        # At most a few full messages ahead of the broker.
        while log.durable_sequence - publisher.sequence > 4_000_000:
            await asyncio.sleep(0.001)
        before = time.thread_time()
        for _ in range(10):
            log.append_announcements(1, steps + np.uint64(said * STEP), outcome)
            said += PIECE
        log.sync()
        append_s += time.thread_time() - before
        publisher.grown()
        await asyncio.sleep(0)
    log.append_event(1, {"kind": "heartbeat", "cut_slot": said * STEP})
    log.append_event(1, {"kind": "stop"})
    log.sync()
    publisher.grown()
    while publisher.sequence < log.durable_sequence:
        await asyncio.sleep(0.001)
    ended = time.time()
    pipe.send((said, begun, ended, publisher.published, own_cpu() - cpu, append_s))
    await asyncio.to_thread(pipe.recv)
    await publisher.stop()
    log.close()


class Tally:
    """Counts what is collected."""

    def __init__(self) -> None:
        self.slots = 0

    async def begun(self, begun: BlockBegun) -> None: ...

    async def collected(self, block: CollectedBlock) -> None:
        self.slots += block.slot.size

    async def breached(self, breach: Exception) -> None:
        raise SystemExit(f"breach: {breach}")


def endpoint_process(settings: NatsSettings, name: str, pipe: Connection) -> None:
    """Collects until it is told how many announcements there are; then tells."""
    asyncio.run(_endpoint(settings, name, pipe))


async def _endpoint(settings: NatsSettings, name: str, pipe: Connection) -> None:
    sink = Tally()
    follower = AnnouncementFollower(
        lambda wish: NatsAnnouncements.subscribe(settings, None, "bench", name, "charlie", wish),
        "charlie",
        BLOCK,
    )
    task = asyncio.ensure_future(follower.run(sink))
    while not follower.connected:
        await asyncio.sleep(0.001)
    cpu = own_cpu()
    pipe.send("ready")
    total = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
    while not (total.done() and sink.slots >= total.result()):
        await asyncio.sleep(0.001)
        if task.done():
            task.result()
    pipe.send((sink.slots, time.time(), own_cpu() - cpu, follower.reconnects))
    task.cancel()


def carried(server: Server, folder: Path, seconds: float, kib: int) -> dict[str, float]:
    """One run from log to four collectors."""
    asyncio.run(fresh(server))
    settings = server.settings(batch_kib=kib)
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for number in range(ENDPOINTS + 1):
            ours, theirs = context.Pipe()
            if number == 0:
                arguments = (Path(name), settings, seconds, theirs)
                process = context.Process(target=relay_process, args=arguments)
            else:
                arguments = (settings, f"endpoint-{number}", theirs)
                process = context.Process(target=endpoint_process, args=arguments)
            process.start()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            pipe.recv()
        server_cpu = cpu_of(server.process.pid)
        pipes[0].send("go")
        said, begun, _sent, published, relay_cpu, append_s = pipes[0].recv()
        for pipe in pipes[1:]:
            pipe.send(said)
        ends = [pipe.recv() for pipe in pipes[1:]]
        server_cpu = cpu_of(server.process.pid) - server_cpu
        messages, size = asyncio.run(stored(server))
        pipes[0].send("end")
        for process in processes:
            process.join()
    assert all(got == said for got, *_ in ends), "an endpoint has not what the relay said"
    wall = max(end for _, end, *_ in ends) - begun
    return {
        "rate": said / wall,
        "messages": published / wall,
        "kib": size / messages / 1024,
        "wall": wall,
        "said": said,
        "server": server_cpu,
        "relay": relay_cpu - append_s,
        "log": append_s,
        "endpoint": sum(cpu for *_, cpu, _ in ends) / ENDPOINTS,
    }


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        server = Server(folder)
        time.sleep(1.0)
        try:
            raw = {}
            for size in (4 << 10, 256 << 10):
                one, many, read = asyncio.run(raw_rates(server, size, seconds))
                raw[size] = many
                print(
                    f"broker alone, {size >> 10:3d} KiB: {one:8.0f} messages/s acknowledged one by "
                    f"one, {many:8.0f} with 64 under way, {read:8.0f} read"
                )
            for kib in SIZES_KIB:
                r = carried(server, folder, seconds, kib)
                per = r["said"] / 1e6
                print(
                    f"1 relay, {ENDPOINTS} endpoints, {kib:3d} KiB: {r['rate'] / 1e6:6.2f} million "
                    f"announcements/s in {r['messages']:5.0f} messages/s of {r['kib']:4.0f} KiB: "
                    f"{r['rate'] / raw[4 << 10]:6.0f} for each message that it stores alone; "
                    f"CPU s per million: log {r['log'] / per:.3f}, relay {r['relay'] / per:.3f}, "
                    f"broker {r['server'] / per:.3f}, each endpoint {r['endpoint'] / per:.3f}"
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
