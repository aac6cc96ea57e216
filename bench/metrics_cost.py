"""What metrics cost the daemons: less than 2 % of what they do.

    python -m bench metrics_cost

A relay's daemon reads announcements as fast as it can from a process that plays the board, and
takes them to its log; two endpoints make key of blocks, beside a daemon with a long history in the
same process. Somebody asks for /metrics, or nobody does, in turns A B B A; so often that it shows,
and what one scrape a second costs is the share of it. Beside it stands what one scrape takes of an
idle daemon's processor time: of a relay's, of an endpoint's with a long history, of a KME's.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _daemons import (
    ANNOUNCED,
    PipelineTurn,
    board_process,
    daemon_process,
    endpoint_daemon,
    kme_daemon,
    memory,
    prepare_endpoint,
    prepare_kme,
    relay_daemon,
    relay_turn,
)
from _pairs import Pairs, in_pairs

PER_SECOND = 10
RELAY_PAIRS, ENDPOINT_PAIRS = 24, 24
SCRAPES = 40
HISTORY = 100_000
GOAL = 0.02


def scrape(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return len(answer.read())


def ask_always(port: int, there: Any, asks: Any, asked: Any) -> None:
    """While it is told to."""
    there.set()
    while True:
        asks.wait()
        scrape(port)
        asked.value += 1
        time.sleep(1.0 / PER_SECOND)


@contextlib.contextmanager
def asking(port: int) -> Iterator[tuple[Any, Any]]:
    """Somebody who scrapes in a process of his own while the event is set, and counts."""
    context = multiprocessing.get_context("spawn")
    there, asks, asked = context.Event(), context.Event(), context.Value("q", 0)
    process = context.Process(target=ask_always, args=(port, there, asks, asked), daemon=True)
    process.start()
    there.wait()
    try:
        yield asks, asked
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def in_thread(daemon: Any) -> Iterator[int]:
    """A daemon in this process; the port of its health server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(daemon.start(), loop).result(60)
    try:
        yield daemon.health.port
    finally:
        asyncio.run_coroutine_threadsafe(daemon.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def with_scrapes(turn: Callable[[], float], port: int, pairs: int) -> tuple[Pairs, float]:
    """The pairs, and scrapes in a second of the turns that had some."""
    with asking(port) as (asks, asked):
        spent = 0.0

        def more() -> float:
            nonlocal spent
            asks.set()
            began = time.monotonic()
            cost = turn()
            spent += time.monotonic() - began
            asks.clear()
            return cost

        found = in_pairs(turn, more, pairs)
        return found, asked.value / spent


def tell_pairs(what: str, pairs: Pairs, rate: float) -> None:
    one, error = (1.0 - pairs.ratio) / rate, pairs.error / rate
    verdict = "" if one < GOAL else f": MORE THAN {GOAL:.0%}"
    print(
        f"{what}; scraped {rate:.1f} times a second {pairs.text()}: one a second costs "
        f"{one:.2%} +- {error:.2%}{verdict}"
    )


def measure_relay() -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        folder = Path(name)
        with board_process(folder, busy=True), daemon_process(relay_daemon, folder) as daemon:
            port, figures = daemon
            time.sleep(1.0)
            pairs, rate = with_scrapes(lambda: relay_turn(figures), port, RELAY_PAIRS)
    plain = 1.0 / statistics.median(pairs.plain)
    what = f"relay: {plain:.4g} announcements into the log per second of processor time"
    tell_pairs(what, pairs, rate)


def measure_endpoints() -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        folder = Path(name)
        (folder / "daemon").mkdir()
        prepare_endpoint(folder / "daemon", HISTORY)
        with in_thread(endpoint_daemon(folder / "daemon")) as port:
            pairs, rate = with_scrapes(PipelineTurn(folder), port, ENDPOINT_PAIRS)
    plain = statistics.median(pairs.plain)
    what = f"endpoints: {plain:.3f} s of processor time for a block of {ANNOUNCED} announcements"
    tell_pairs(what, pairs, rate)


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


def tell(what: str, seconds: float, size: int) -> None:
    verdict = "" if seconds < GOAL else f": MORE THAN {GOAL:.0%}"
    print(
        f"a scrape of {what}: {1e3 * seconds:.2f} ms of processor time, {size} bytes; once a "
        f"second {seconds:.2%} of a core{verdict}"
    )


def main() -> None:
    """All of it."""
    measure_relay()
    measure_endpoints()
    measure_scrapes()


if __name__ == "__main__":
    main()
