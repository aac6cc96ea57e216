"""Daemons in processes of their own, busy or idle, for benchmarks of what is seen of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import structlog

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
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.daemon import EndpointDaemon
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.kme_daemon import KmeDaemon
from bellrelay.observe.block_tracer import BlockTracer, block_tracer
from bellrelay.observe.relay_traces import RelayTraces
from bellrelay.relay.block_trace import RelayTrace
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.settings.traces import TraceSettings
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import Announcements
from bellrelay.wire.registers import State

__all__ = [
    "ANNOUNCED",
    "BLOCKS",
    "BLOCK_SLOTS",
    "PER_FRAME",
    "PipelineTurn",
    "SwitchedTrace",
    "board_process",
    "collector",
    "daemon_process",
    "endpoint_daemon",
    "kme_daemon",
    "memory",
    "prepare_endpoint",
    "prepare_kme",
    "relay_daemon",
    "relay_turn",
    "traced_relay_daemon",
]

PER_FRAME = 500
BLOCK_SLOTS = 10**8
BLOCKS, ANNOUNCED = 6, 600_000
TURN_S = 1.0


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


def relay_daemon(folder: Path, trace: RelayTrace | None = None) -> RelayDaemon:
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
        ),
        trace=trace,
    )


class SwitchedTrace(RelayTrace):
    """Another one, while it is on."""

    def __init__(self, trace: RelayTrace) -> None:
        self._trace, self._none = trace, RelayTrace()
        self.on = False

    def _now(self) -> RelayTrace:
        return self._trace if self.on else self._none

    def announced(self, acquisition: int, slot: Any) -> None:
        self._now().announced(acquisition, slot)

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        self._now().event(acquisition, values)

    def durable(self) -> None:
        self._now().durable()


def traced_relay_daemon(folder: Path, settings: TraceSettings, block_slots: int) -> RelayDaemon:
    """Its trace is switched by what asks for its figures."""
    tracer = block_tracer(settings, "bellrelay-relay", "bench")
    trace = SwitchedTrace(RelayTraces(tracer, "bench", block_slots))
    daemon = relay_daemon(folder, trace)
    # What `serve` looks for.
    daemon.switch = trace
    return daemon


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


def kme_daemon(config: Path) -> KmeDaemon:
    settings = load_kme_config(config)
    return KmeDaemon(settings, _finished_keys(settings))


def be_quiet() -> None:
    """A log costs more than what is measured here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def serve(make: Callable[..., Any], arguments: tuple[Any, ...], pipe: Any) -> None:
    """A daemon in this process; says what time it has computed whenever it is asked."""
    be_quiet()

    async def live() -> None:
        daemon = make(*arguments)
        began = time.process_time()
        await daemon.start()
        pipe.send((daemon.health.port, time.process_time() - began))
        while (asked := await asyncio.to_thread(pipe.recv)) is not None:
            if (switch := getattr(daemon, "switch", None)) is not None:
                switch.on = asked
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

    def figures(on: bool = False) -> tuple[float, int]:
        ours.send(on)
        return ours.recv()

    try:
        port, _ = ours.recv()
        yield port, figures
    finally:
        ours.send(None)
        process.join(20)


def relay_turn(figures: Callable[..., tuple[float, int]], on: bool = False) -> float:
    """Seconds of the daemon's processor time for an announcement into the log; `on`: its switch."""
    cpu, log = figures(on)
    grown = log
    while grown == log:
        time.sleep(TURN_S)
        after, grown = figures(on)
    return (after - cpu) / (grown - log)


class PipelineTurn:
    """Both endpoints, from complete lists to stored keys, in this process; seconds for a block.

    Parameters
    ----------
    folder
        Where every turn gets a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = 0
        be_quiet()
        # The first compiles what the others run.
        self()

    def __call__(
        self, prepare: Callable[..., Any] | None = None, tracers: Sequence[BlockTracer] = ()
    ) -> float:
        """`prepare`: of :func:`play`; `tracers`: whose spans must have been sent."""
        self._turn += 1
        run = synthetic_run(ANNOUNCED, blocks=BLOCKS)
        place = self._folder / f"endpoints-{self._turn}"
        place.mkdir()
        began = time.process_time()
        play(place, run, prepare=prepare, blocks=BLOCKS)
        for tracer in tracers:
            tracer.queue.force_flush()
        return (time.process_time() - began) / BLOCKS


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


def memory() -> str | None:
    """Where there is a disk that costs nothing: what is measured is processor time."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
