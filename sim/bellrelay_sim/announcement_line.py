"""The line from a relay's fan-out to its consumers, which can be told to lie or to be cut.

    python -m bellrelay_sim.announcement_line --relay SOCKET --listen SOCKET

Consumers connect to the second socket and get what the relay serves on the first. SIGUSR1: from
now on the first announcement of every frame comes twice, as only a relay does that was tampered
with; SIGUSR2: honest again. A relay that is not there is as one that hangs up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

import numpy as np

from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Announced

__all__ = ["AnnouncementLine", "main"]

_READ = 1 << 16


class AnnouncementLine:
    """Serves consumers of one relay.

    Parameters
    ----------
    relay
        Socket of its fan-out.

    Attributes
    ----------
    lies : bool
        Whether a slot is told again that has been told before.
    """

    def __init__(self, relay: Path) -> None:
        self.lies = False
        self._relay = relay

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One consumer, until either side hangs up."""
        try:
            above, below = await asyncio.open_unix_connection(self._relay)
        except OSError:
            writer.close()
            return
        tasks = [
            asyncio.ensure_future(self._up(reader, below)),
            asyncio.ensure_future(self._down(above, writer)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (writer, below):
            one.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ):
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        last: Announced | None = None
        while data := await reader.read(_READ):
            for frame in decoder.feed(data):
                payload = frame.payload
                if frame.type == FrameType.ANNOUNCED:
                    told = Announced.parse(payload, frame.acquisition)
                    if self.lies and last is not None and len(told.slot):
                        told = _once_more(last, told)
                        payload = told.encode()
                    last = told
                writer.write(
                    encode_frame(FrameType(frame.type), frame.sequence, frame.acquisition, payload)
                )
            await writer.drain()


def _once_more(last: Announced, told: Announced) -> Announced:
    """The same announcements, but that the first slot is the last one of the frame before."""
    slot = told.slot.copy()
    slot[0] = np.uint64(last.slot[-1])
    return Announced(told.sequence, told.acquisition, slot, told.outcome)


async def _run(relay: Path, listen: Path) -> None:
    line = AnnouncementLine(relay)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, setattr, line, "lies", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, line, "lies", False)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    listen.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(line.serve, listen)
    await stopped.wait()
    server.close()
    with contextlib.suppress(OSError):
        listen.unlink()


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM; exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bellrelay_sim.announcement_line", description=__doc__
    )
    parser.add_argument("--relay", type=Path, required=True, help="socket of the relay's fan-out")
    parser.add_argument("--listen", type=Path, required=True, help="socket for its consumers")
    args = parser.parse_args(argv)
    asyncio.run(_run(args.relay, args.listen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
