"""What metrics and traces cost the daemons: less than 2 % of what they do.

    python -m bench metrics_cost

A relay's daemon reads announcements as fast as it can from a process that plays the board, and
takes them to its log; meanwhile somebody asks for /metrics five times a second, or nobody does, in
turns. The ratio is that of announcements in the log per second of its processor time; a fifth of
the difference is what one scrape a second costs. Beside it stands what one scrape takes of an idle
daemon's processor time: of a relay's, of an endpoint's with a long history, of a KME's.

What traces cost is measured without a daemon, in turns with and without: a log's writer that is
told of every frame, and two endpoints that make key of blocks; spans go to a collector that takes
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "keys"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "endpoint"))

from pretend_board import PretendBoard
from synthetic_blocks import synthetic_run
from two_endpoints import play
from two_sites import TwoSites

from bellrelay.cli.kme import _finished_keys
from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.block_trace import BlockTrace
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.daemon import EndpointDaemon
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.kme_daemon import KmeDaemon
from bellrelay.observe.block_spans import BlockName
from bellrelay.observe.block_tracer import BlockTracer, block_tracer
from bellrelay.observe.endpoint_traces import EndpointTraces
from bellrelay.observe.relay_traces import RelayTraces
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.block_trace import RelayTrace
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.relay.log_writer import LogWriter
from bellrelay.settings.traces import TraceSettings
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import Announcements
from bellrelay.wire.registers import State

PER_FRAME = 500
PER_SECOND = 5
TURN_S, TURNS = 1.0, 24
SCRAPES = 40
HISTORY = 100_000
PIPELINES, BLOCKS, ANNOUNCED = 12, 6, 600_000
BLOCK_SLOTS = 10**8
GOAL = 0.02


class BusyBoard(PretendBoard):
    """Announces as fast as somebody reads."""

    def _run(self) -> None:
        steps = np.cumsum(self.rng.integers(1, 100, PER_FRAME).astype(np.uint64))
        outcome = self.rng.integers(1, 3, PER_FRAME).astype(np.uint8)
        minus = int((outcome == 1).sum())
        next_beat = time.monotonic()
        while not self._closing.is_set():
            with contextlib.suppress(BlockingIOError, OSError):
                self._commands(os.read(self.master, 4096))
            if self.state is State.RUNNING:
                slots = steps + np.uint64(self.slot)
                self.slot = int(slots[-1])
                self.tick += 10
                self.totals["announced_psi_minus"] += minus
                self.totals["announced_psi_plus"] += PER_FRAME - minus
                self.totals["slots"] = self.slot + 1
                payload = Announcements(self.tick, slots, outcome).encode()
                self.out(self.send(FrameType.ANNOUNCEMENTS, payload))
            else:
                time.sleep(0.001)
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self.beat_s
                self.out(self.heartbeat())


def play_board(link: str, done: Any, busy: bool) -> None:
    kind = BusyBoard if busy else PretendBoard
    board = kind(Path(link), beat_s=0.05)
    done.wait()
    board.close()


@contextlib.contextmanager
def board_process(folder: Path, *, busy: bool) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    process = context.Process(target=play_board, args=(str(folder / "port"), done, busy))
    process.start()
    try:
        while not (folder / "port").exists():
            time.sleep(0.02)
        yield
    finally:
        done.set()
        process.join(10)


# ------------------------------------------------------------------------------------ daemons


def relay_daemon(folder: Path) -> RelayDaemon:
    return RelayDaemon(
        check_config(
            {
                "relay_id": "bench",
                "port": str(folder / "port"),
                "slot_period_ps": 10_000,
                "windows": {"early": [2000, 3000], "late": [7000, 8000]},
                "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
                "log": {"directory": str(folder / "log"), "retention_mb": 256},
                "health": {"listen": "127.0.0.1:0"},
            }
        )
    )


def endpoint_daemon(folder: Path) -> EndpointDaemon:
    ladder = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}
    return EndpointDaemon(
        check_endpoint_config(
            {
                "endpoint_id": "alice",
                "peer_id": "bob",
                "role": "alice",
                "relay": {"id": "charles", "unix_socket": str(folder / "announcements")},
                "peer": {
                    "listen": "127.0.0.1:0",
                    "name": "bob",
                    "tls": tls_files(folder, "alice"),
                },
                "source": {"plugin": "simulation"},
                "alice": ladder,
                "bob": ladder,
                "block": {"slots": BLOCK_SLOTS},
                "store": {"directory": str(folder / "store")},
                "key_pool": {"file": str(folder / "pool")},
                "intensity_monitor": {"input": "none"},
                "health": {"listen": "127.0.0.1:0"},
            }
        )
    )


def prepare_endpoint(folder: Path, history: int) -> None:
    """Certificates, a pool, and a store with blocks that have ended, nine of ten with a key."""
    make_certificates(folder, ("alice", "bob"))
    KeyPool.create(folder / "pool", os.urandom(1 << 16))
    BlockStore(folder / "store", "alice", ["charles"]).close()
    table = [[1000] * 3] * 3
    record = {
        "relay_id": "charles",
        "pulses": BLOCK_SLOTS,
        "announced": 10**6,
        "sifted_bits": 600_000,
        "error_rate_z": 0.01,
        "phase_error_upper": 0.05,
        "key_bits": 100_000,
        "tallies": {o: {"n": table, "m": table} for o in ("psi_minus", "psi_plus")},
        "ladders": {"alice": [0.4] * 8, "bob": [0.4] * 8},
        "epsilons": dict.fromkeys(("secrecy", "correctness", "total"), 1e-10),
    }
    text = json.dumps(record)
    now = time.time_ns()
    db = sqlite3.connect(folder / "store" / "blocks.sqlite")
    for n in range(history):
        stored = n % 10 > 0
        state = BlockState.STORED if stored else BlockState.ABORTED
        cause = "" if stored else ("timeout", "no-key")[n % 20 > 0]
        at = now - (history - n) * 10**9
        db.execute(
            "INSERT INTO block (relay, acquisition, number, state, cause, sequence, record,"
            " begun_ns, changed_ns) VALUES (0, 1, ?, ?, ?, ?, ?, ?, ?)",
            (n, int(state), cause, n + 1, text, at - 10**9, at),
        )
        if stored:
            db.execute(
                "INSERT INTO key VALUES (?, 0, 1, ?, 0, 100000, x'', x'', ?, ?)",
                (f"key-{n}", n, text, at),
            )
    db.execute("UPDATE key SET confirmed = 1")
    db.commit()
    db.close()


def prepare_kme(folder: Path) -> TwoSites:
    sites = TwoSites(folder, [(f"p{n}", f"a{n}", f"b{n}", 1) for n in range(8)])
    sites.add_blocks(20, 1000)
    return sites


# ------------------------------------------------------------------------------------ scrapes


def scrape(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return len(answer.read())


def serve(make: Callable[..., Any], arguments: tuple[Any, ...], pipe: Any) -> None:
    """A daemon in this process; says what time it has computed whenever it is asked."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    async def live() -> None:
        daemon = make(*arguments)
        began = time.process_time()
        await daemon.start()
        pipe.send((daemon.health.port, time.process_time() - began))
        while await asyncio.to_thread(pipe.recv):
            log = getattr(daemon, "log", None)
            pipe.send((time.process_time(), 0 if log is None else log.durable_sequence))
        await daemon.stop()

    asyncio.run(live())


@contextlib.contextmanager
def daemon_process(make: Callable[..., Any], *arguments: Any) -> Iterator[tuple[int, Any]]:
    """The port of its health server, and what gives its processor time and its log's length."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(make, arguments, theirs))
    process.start()

    def figures() -> tuple[float, int]:
        ours.send(True)
        return ours.recv()

    try:
        port, _ = ours.recv()
        yield port, figures
    finally:
        ours.send(False)
        process.join(20)


def per_scrape(port: int, figures: Callable[[], tuple[float, int]]) -> tuple[float, int]:
    """Seconds of processor time, the idle daemon's own taken off; bytes."""
    idle, asked = [], []
    for _ in range(4):
        began, wall = figures()[0], time.monotonic()
        time.sleep(1.0)
        idle.append((figures()[0] - began) / (time.monotonic() - wall))
        began, wall = figures()[0], time.monotonic()
        for _ in range(SCRAPES // 4):
            size = scrape(port)
        wall = time.monotonic() - wall
        asked.append((figures()[0] - began - idle[-1] * wall) / (SCRAPES // 4))
    return statistics.median(asked), size


def chain(port: int, figures: Callable[[], tuple[float, int]]) -> tuple[list[float], list[float]]:
    """Announcements per second of processor time, in turns without and with scrapes."""
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * TURNS):
        # Without, with, with, without: whatever drifts meets both alike.
        asked = turn % 4 in (1, 2)
        cpu, log = figures()
        end = time.monotonic() + TURN_S
        while (left := end - time.monotonic()) > 0:
            if asked:
                scrape(port)
            time.sleep(max(0.0, min(left, 1.0 / PER_SECOND)))
        after, grown = figures()
        rates[asked].append((grown - log) / (after - cpu))
    return rates


def measure_relay() -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        folder = Path(name)
        with board_process(folder, busy=True), daemon_process(relay_daemon, folder) as daemon:
            time.sleep(1.0)
            without, asked = chain(*daemon)
    pairs = sorted(b / a for a, b in zip(without, asked, strict=True))
    ratio = statistics.median(pairs)
    print(
        f"relay: {statistics.median(without):.4g} announcements into the log per second of "
        f"processor time without scrapes, {statistics.median(asked):.4g} with {PER_SECOND} a "
        f"second; ratio of turns beside each other {ratio:.4f}, half of them within "
        f"{pairs[len(pairs) // 4]:.3f} and {pairs[3 * len(pairs) // 4]:.3f}: one a second costs "
        f"{(1 - ratio) / PER_SECOND:.2%}"
    )


def measure_scrapes() -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        folder = Path(name)
        with board_process(folder, busy=False), daemon_process(relay_daemon, folder) as daemon:
            tell("relay", *per_scrape(*daemon))
        for history in (0, HISTORY):
            place = folder / str(history)
            place.mkdir()
            prepare_endpoint(place, history)
            with daemon_process(endpoint_daemon, place) as daemon:
                tell(f"endpoint, {history} blocks", *per_scrape(*daemon))
        place = folder / "kme"
        place.mkdir()
        sites = prepare_kme(place)
        with daemon_process(kme_daemon, sites.config("kme-a")) as daemon:
            tell("KME, 20000 units", *per_scrape(*daemon))


def kme_daemon(config: Path) -> KmeDaemon:
    settings = load_kme_config(config)
    return KmeDaemon(settings, _finished_keys(settings))


def tell(what: str, seconds: float, size: int) -> None:
    verdict = "" if seconds < GOAL else f": MORE THAN {GOAL:.0%}"
    print(
        f"a scrape of {what}: {1e3 * seconds:.2f} ms of processor time, {size} bytes; once a "
        f"second {seconds:.2%} of a core{verdict}"
    )


# ------------------------------------------------------------------------------------ traces


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def collect(port: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    port.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def collector() -> Iterator[TraceSettings]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=collect, args=(theirs,), daemon=True)
    process.start()
    yield TraceSettings(otlp=f"http://127.0.0.1:{ours.recv()}/v1/traces")
    process.terminate()
    process.join()


def write_frames(folder: Path, trace: RelayTrace, frames: int, first: int) -> float:
    """Seconds of processor time for so many frames into a log."""
    log = AnnouncementLog(folder, 64 << 20, 256 << 20)
    slot = np.arange(PER_FRAME, dtype=np.uint64) * np.uint64(50) + np.uint64(first)
    outcome = np.ones(PER_FRAME, np.uint8)
    step = np.uint64(50 * PER_FRAME)
    began = time.process_time()
    writer = LogWriter(log, lambda _n: None, lambda _e: None, trace)
    for _ in range(frames):
        writer.announced(1, slot, outcome)
        slot = slot + step
    writer.close()
    spent = time.process_time() - began
    log.close()
    return spent


def measure_traces() -> None:
    frames, turns = 4000, 6
    with (
        collector() as settings,
        tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name,
    ):
        tracer = block_tracer(settings, "bellrelay-relay", "bench")
        spent: tuple[list[float], list[float]] = ([], [])
        for turn in range(2 * turns):
            traced = turn % 4 in (1, 2)
            trace = RelayTraces(tracer, "bench", BLOCK_SLOTS // 10) if traced else RelayTrace()
            spent[traced].append(write_frames(Path(name) / str(turn), trace, frames, 1))
        ratio = statistics.median(spent[1]) / statistics.median(spent[0])
        blocks = frames * PER_FRAME * 50 / (BLOCK_SLOTS // 10)
        print(
            f"relay: {frames * PER_FRAME / statistics.median(spent[0]):.4g} announcements written "
            f"per second of processor time; with traces of {blocks:.0f} blocks among them the "
            f"ratio is {1 / ratio:.4f}"
        )
        tracer.close()
        distil(settings, Path(name))


def distil(settings: TraceSettings, folder: Path) -> None:
    """Both endpoints, from complete lists to stored keys, in this process."""
    spent: tuple[list[float], list[float]] = ([], [])
    tracers = [block_tracer(settings, "bellrelay-endpoint", name) for name in ("alice", "bob")]
    for turn in range(2 * PIPELINES + 1):
        traced = turn % 4 in (2, 3)

        def prepare(*parties: Any, traced: bool = traced) -> None:
            for party, tracer in zip(parties[:2], tracers, strict=True):
                named = EndpointTraces(tracer, party.name, ["bench"]) if traced else BlockTrace()
                party.start(trace=named)

        run = synthetic_run(ANNOUNCED, blocks=BLOCKS)
        place = folder / f"endpoints-{turn}"
        place.mkdir()
        began = time.process_time()
        play(place, run, prepare=prepare, blocks=BLOCKS)
        for tracer in tracers:
            tracer.queue.force_flush()
        # The first compiles what the others run.
        if turn:
            spent[traced].append(time.process_time() - began)
    sent = sum(tracer.queue.sent for tracer in tracers) / (PIPELINES * BLOCKS)
    of_block = statistics.median(spent[0]) / BLOCKS
    one = of_span(tracers[0])
    for tracer in tracers:
        tracer.close()
    ratio = sum(spent[0]) / sum(spent[1])
    print(
        f"endpoints: {of_block:.3f} s of processor time, of both, for a block of {ANNOUNCED} "
        f"announcements; with traces the ratio is {ratio:.4f}. A span takes {1e6 * one:.0f} us to "
        f"make and send, the {sent:.0f} of a block {sent * one / of_block:.2%}"
    )


def of_span(tracer: BlockTracer) -> float:
    """Seconds of processor time."""
    spans, record = 4000, {"announced": 1, "pulses": 2, "role": "alice"}
    began = time.process_time()
    for n in range(spans):
        tracer.span(BlockName("bench", 2, n), "commit", n, n + 1, record)
    tracer.queue.force_flush()
    return (time.process_time() - began) / spans


def memory() -> str | None:
    """Where there is a disk that costs nothing: what is measured is processor time."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> None:
    """All of it."""
    measure_relay()
    measure_scrapes()
    measure_traces()


if __name__ == "__main__":
    main()
