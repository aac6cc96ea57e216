"""Raw tags through a pseudo-terminal into the daemon: whether any is lost, and at which rate.

    python bench/relay_pty.py [tags per second] [seconds]

A process of its own plays the board: it sends frames of 256 tags at the wanted pace through a FIFO
of 64 KiB, and sheds what finds no room there, as a board does. Where the machine keeps that process
off its core for a while, fewer tags than wanted are offered; the figures say how many were. The
daemon runs as it is, with its log, and spools the tags to disk. The ratio is to 2e6 tags/s. Beside
it stands what a reader loses in the same way that does nothing with the bytes: the machine's share.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import multiprocessing
import os
import select
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "relay"))

from pretend_board import GEOMETRY, PretendBoard

from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import Tags
from bellrelay.wire.registers import State

FIFO_BYTES = 64 << 10
TAGS = 256
STALL_S = 0.001
WANTED = 2e6


class PacedBoard(PretendBoard):
    """Sends tags of channels in turn at a pace; ``shed`` counts the tags without room."""

    def __init__(self, link: Path, rate: float) -> None:
        self.rate = rate
        self.fifo: collections.deque[memoryview] = collections.deque()
        self.fill = self.produced = self.shed = self.turn = 0
        self.began = 0.0
        self.payloads = []
        for channel in range(GEOMETRY.n_channels):
            words = np.uint64(channel) << np.uint64(56) | np.arange(TAGS, dtype=np.uint64)
            self.payloads.append(Tags(1 << 40, words).encode())
        super().__init__(link, beat_s=0.05, per_beat=0)

    def out(self, data: bytes) -> None:
        self.fifo.append(memoryview(data))
        self.fill += len(data)

    def push(self) -> None:
        while self.fifo:
            try:
                n = os.write(self.master, self.fifo[0])
            except (BlockingIOError, OSError):
                return
            self.fill -= n
            if n < len(self.fifo[0]):
                self.fifo[0] = self.fifo[0][n:]
                return
            self.fifo.popleft()

    def tags(self) -> None:
        if self.state is not State.RUNNING:
            self.began = 0.0
            return
        now = time.monotonic()
        if not self.began:
            self.began, self.produced = now, 0
        due = int((now - self.began) * self.rate) - self.produced
        late = due - int(STALL_S * self.rate)
        if late > 0:
            # This process was off its core. A board's clock does not stand still and then catch
            # up in a burst, so what it would have sent meanwhile is not sent at all.
            self.began += late / self.rate
            due -= late
        for _ in range(due // TAGS):
            channel = self.turn = (self.turn + 1) % GEOMETRY.n_channels
            self.produced += TAGS
            self.totals[f"clicks_{channel}"] += TAGS
            if self.fill + 8 * TAGS > FIFO_BYTES:
                self.shed += TAGS
                self.totals[f"tags_shed_{channel}"] += TAGS
            else:
                self.out(self.send(FrameType.TAGS, self.payloads[channel]))
            self.push()

    def _run(self) -> None:
        next_beat = time.monotonic()
        while not self._closing.is_set():
            with contextlib.suppress(BlockingIOError, OSError):
                self._commands(os.read(self.master, 4096))
            self.tags()
            if time.monotonic() >= next_beat:
                next_beat += self.beat_s
                self.beat()
            self.push()
            # Long enough to let the reader have the core, short against the FIFO's 4 ms.
            time.sleep(0.0003)


def play(link: str, rate: float, at_once: bool, done: Any, result: Any) -> None:
    sys.setswitchinterval(0.0005)
    board = PacedBoard(Path(link), rate)
    if at_once:
        board.state = State.RUNNING
    done.wait()
    result.put((sum(board.totals[f"clicks_{i}"] for i in range(GEOMETRY.n_channels)), board.shed))
    board.close()


@contextlib.contextmanager
def playing(folder: Path, rate: float, at_once: bool, figures: list[int]) -> Iterator[None]:
    """The board's process while the block runs; then the tags that it made and shed."""
    context = multiprocessing.get_context("spawn")
    done, result = context.Event(), context.Queue()
    arguments = (str(folder / "port"), rate, at_once, done, result)
    board = context.Process(target=play, args=arguments)
    board.start()
    try:
        while not (folder / "port").exists():
            time.sleep(0.02)
        yield
    finally:
        done.set()
        figures += result.get(timeout=10)
        board.join(10)


def drain(port: Path, seconds: float) -> None:
    """Read, and do nothing."""
    file = os.open(port, os.O_RDWR | os.O_NOCTTY)
    poll = select.poll()
    poll.register(file, select.POLLIN)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        poll.poll(100)
        os.read(file, 1 << 16)
    os.close(file)


async def measure(folder: Path, rate: float, seconds: float) -> tuple[int, dict[str, int], float]:
    config = check_config(
        {
            "relay_id": "bench",
            "port": str(folder / "port"),
            "slot_period_ps": 10_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
            "raw_tags": {"stream": True, "directory": str(folder / "tags")},
            "log": {"directory": str(folder / "log")},
        }
    )
    daemon = RelayDaemon(config)
    await daemon.start()
    account = daemon.session.account
    assert account is not None
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    beat = account.heartbeat
    assert beat is not None
    wall = time.perf_counter() - start
    await daemon.stop()
    beat = account.heartbeat
    assert beat is not None
    n = range(len(account.tags))
    figures = {
        "produced": sum(beat.counters[f"clicks_{i}"] for i in n),
        "shed": sum(beat.counters[f"tags_shed_{i}"] for i in n),
        "lost": account.lost_tags,
        "not_spooled": daemon.status()["tags_not_spooled"],
    }
    return sum(account.tags), figures, wall


def main(rate: float = WANTED, seconds: float = 5.0) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bellrelay-bench-"))
    floor: list[int] = []
    try:
        with playing(folder, rate, True, floor):
            drain(folder / "port", seconds)
        with playing(folder, rate, False, []):
            received, figures, wall = asyncio.run(measure(folder, rate, seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lost = figures["produced"] - received
    print(
        f"tags into the daemon: {received / wall:.3g} of {figures['produced'] / wall:.3g} tags/s "
        "offered through a pty, "
        f"{lost} of {figures['produced']} lost ({100 * lost / figures['produced']:.4f} %: "
        f"{figures['shed']} at the board's FIFO, {figures['lost']} on the line), "
        f"{figures['not_spooled']} not spooled; a bare reader loses {floor[1]} of {floor[0]} "
        f"({100 * floor[1] / floor[0]:.4f} %); ratio to {WANTED:.0e} tags/s: "
        f"{received / wall / WANTED:.2f}"
    )


if __name__ == "__main__":
    main(*(float(a) for a in sys.argv[1:]))
