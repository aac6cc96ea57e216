"""What the live view costs the server: ten updates a second of 8 channels with 1,000 bins each.

Beside it, in the same run: the same messages made and thrown away, and the same bytes written to a
bare socket. All in process time of one core.

    python -m bench live_view
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import aiohttp
import numpy as np

from bellrelay.observe.view_audit import ViewAudit
from bellrelay.observe.view_control import ViewControl
from bellrelay.observe.view_feed import pack
from bellrelay.observe.view_records import CalibrationPictures
from bellrelay.observe.view_server import ViewServer

CHANNELS, BINS, EVERY_S, SECONDS = 8, 1000, 0.1, 10.0
TEXT = {
    "utc_ns": 1, "state": "running", "reason": "", "acquisition": 1,
    "histogram": {"channels": CHANNELS, "bins": BINS, "seconds": 0.1},
    "rates": {"fates": {f"D{i}": dict.fromkeys("abcde", 123.456) for i in range(CHANNELS)},
              "pairs": [[1.5] * CHANNELS] * CHANNELS,
              "classes": {f"class_{i}": 12.5 for i in range(9)}},
    "tracking": {f"k{i}": 1.5 for i in range(20)},
    "links": {"endpoints": {}, "faults": []},
}  # fmt: skip


class _Feed:
    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self.made = 0

    def message(self) -> bytes:
        self.made += 1
        return pack(TEXT, self._random.integers(0, 5000, (CHANNELS, BINS)))


def _look(url: str, pages: int, stop: threading.Event, got: list[int]) -> None:
    """Pages in a thread of their own: their time is taken off by thread."""

    async def page(client: aiohttp.ClientSession) -> None:
        async with client.ws_connect(f"{url}/live") as socket_:
            async for said in socket_:
                got[0] += len(said.data)
                if stop.is_set():
                    return

    async def run() -> None:
        async with aiohttp.ClientSession() as client:
            await asyncio.gather(*(page(client) for _ in range(pages)))

    asyncio.run(run())


def _served(pages: int) -> tuple[float, int, int]:
    """CPU seconds of the serving thread, messages made, bytes that came."""
    feed, got, stop = _Feed(), [0], threading.Event()

    async def serve() -> float:
        control = ViewControl("charlie", None, {}, ViewAudit(None, "charlie"))
        server = ViewServer(dict, feed.message, EVERY_S, control, list, CalibrationPictures(None))
        await server.start("127.0.0.1", 0, None)
        arguments = (f"http://127.0.0.1:{server.port}", pages, stop, got)
        looker = threading.Thread(target=_look, args=arguments, daemon=True)
        looker.start()
        task = asyncio.ensure_future(server.run())
        while server.watching < pages:
            await asyncio.sleep(0.05)
        feed.made = got[0] = 0
        before = _cpu_but(looker)
        await asyncio.sleep(SECONDS)
        used = _cpu_but(looker) - before
        stop.set()
        await asyncio.sleep(2 * EVERY_S)
        task.cancel()
        await server.stop()
        return used

    return asyncio.run(serve()), feed.made, got[0]


def _cpu_but(thread: threading.Thread) -> float:
    """CPU seconds of this process without those of a thread."""
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    return time.process_time() - time.clock_gettime(clock)


def _bare(messages: int) -> tuple[float, float]:
    """CPU seconds of making so many messages, and of writing them to a socket that is read."""
    feed = _Feed()
    begin = time.process_time()
    made = [feed.message() for _ in range(messages)]
    making = time.process_time() - begin
    ours, theirs = socket.socketpair()
    size = sum(map(len, made))

    def read() -> None:
        left = size
        while left:
            left -= len(theirs.recv(1 << 20))

    reader = threading.Thread(target=read)
    reader.start()
    begin_thread = time.thread_time()
    for data in made:
        ours.sendall(data)
    writing = time.thread_time() - begin_thread
    reader.join()
    return making, writing


def main() -> None:
    """Print shares of one core, and ratios."""
    rows = {}
    for pages in (1, 4):
        used, made, got = _served(pages)
        making, writing = _bare(made)
        rows[pages] = {
            "messages_per_s": made / SECONDS,
            "bytes_per_s": got / SECONDS,
            "share_of_a_core": used / SECONDS,
            "ratio_to_making_and_writing": used / (making + pages * writing),
        }
    print(json.dumps({f"{p} page(s)": row for p, row in rows.items()}, indent=1))


if __name__ == "__main__":
    main()
