"""A serial port that is not there: a pseudo-terminal under a name that stays."""

from __future__ import annotations

import contextlib
import os
import select
import tty
from pathlib import Path

__all__ = ["TwinPort"]

_CHUNK = 1 << 16


class TwinPort:
    """The board's end of the line.

    Parameters
    ----------
    link
        Path of the symbolic link that the host opens; what stands there is replaced if it is a
        link. Nothing is there before ``plug_in``.
    """

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master = -1
        self._target = ""

    def plug_in(self) -> None:
        """Make a new pseudo-terminal and let the link point to it.

        Raises
        ------
        OSError
            No pseudo-terminal, or no place for the link.
        """
        master, slave = os.openpty()
        # Raw before anybody opens it: no echo of frames to the board as commands.
        tty.setraw(slave)
        self._target = os.ttyname(slave)
        # With no open end there, poll says whether the host has the port open.
        os.close(slave)
        os.set_blocking(master, False)
        self._master = master
        temporary = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(self._target)
        temporary.replace(self.link)

    def pull_out(self) -> None:
        """Close the pseudo-terminal and remove the link, as a cable that is pulled."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        with contextlib.suppress(OSError):
            if os.readlink(self.link) == self._target:
                self.link.unlink()

    @property
    def path(self) -> str:
        """Device that the link points to."""
        return self._target

    def wait(self, seconds: float, to_write: bool) -> tuple[bool, bool, bool]:
        """Wait until something can be done: host there, bytes to read, room to write.

        While the host has not opened the port, the whole time passes.
        """
        poll = select.poll()
        poll.register(self._master, select.POLLIN | (select.POLLOUT if to_write else 0))
        events = 0
        for _, flags in poll.poll(0):
            events |= flags
        there = not events & select.POLLHUP
        if not there or not events:
            if there:
                for _, flags in poll.poll(max(0, int(seconds * 1000))):
                    events |= flags
                there = not events & select.POLLHUP
            else:
                select.select([], [], [], max(0.0, seconds))
        return there, bool(events & select.POLLIN), there and bool(events & select.POLLOUT)

    def read(self) -> bytes:
        """Bytes that the host has written."""
        try:
            return os.read(self._master, _CHUNK)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes | memoryview) -> int:
        """As many bytes as the line takes now."""
        try:
            return os.write(self._master, data[:_CHUNK])
        except (BlockingIOError, OSError):
            return 0
