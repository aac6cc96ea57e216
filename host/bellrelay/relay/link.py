"""The serial line to the board: read by a thread of its own that does nothing else.

The line buffers a few milliseconds at most, so nothing may stand between the port and memory:
the thread reads what there is, in big pieces, and hands it over through a queue. It outlives the
port: when that goes away, the thread says so and tries the same path until it is back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import serial

__all__ = ["LinkEvent", "PortBusy", "PortError", "PortMissing", "SerialLink"]

_READ_BYTES = 1 << 16
_TERMINAL_BYTES = 4095
_BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class PortError(OSError):
    """The port cannot be used."""

    def __str__(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else super().__str__()


class PortMissing(PortError):
    """There is no such port."""


class PortBusy(PortError):
    """The port is there, but another program has it, or this user may not open it."""


class LinkEvent(Enum):
    """What the reader says between the bytes."""

    LOST = "lost"
    OPENED = "opened"


@dataclass
class LinkCounts:
    """What went over the line."""

    bytes_read: int = 0
    bytes_written: int = 0
    times_lost: int = 0


def _open(path: Path, baud: int) -> serial.Serial:
    try:
        return serial.Serial(str(path), baud, timeout=0, write_timeout=2.0, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO):
            raise PortMissing(number, f"{path}: no such port, or nothing behind it") from error
        if number in (errno.EACCES, errno.EPERM):
            raise PortBusy(number, f"{path}: this user may not open the port") from error
        if number in (errno.EBUSY, errno.EAGAIN):
            raise PortBusy(number, f"{path}: another program has the port open") from error
        text = " ".join(str(error).split())
        if number == errno.ENOTTY or not number:
            number = errno.ENOTTY
            text = f"no serial port that can be set to {baud} baud ({text})"
        raise PortMissing(number, f"{path}: {text}") from error


class SerialLink:
    """One port, opened, read and opened again.

    Parameters
    ----------
    path
        The device. It is opened anew by this very path, hence best one below /dev/serial/by-id.
    baud
        Rate of the line.

    Raises
    ------
    PortMissing, PortBusy
        At the first opening alone; later ones are tried until they succeed.
    """

    def __init__(self, path: Path, baud: int) -> None:
        self.path = path
        self.counts = LinkCounts()
        self._baud = baud
        self._queue: queue.SimpleQueue[bytes | LinkEvent] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._port: serial.Serial | None = _open(path, baud)
        self._wake_read, self._wake_write = os.pipe()
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._run, name="link-reader", daemon=True)
        self._reader.start()

    @property
    def connected(self) -> bool:
        """Whether the port is open."""
        return self._port is not None

    @property
    def waiting(self) -> int:
        """Pieces that were read and not taken yet."""
        return self._queue.qsize()

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        OSError
            The port is gone.
        """
        with self._lock:
            port = self._port
            if port is None:
                raise PortMissing(errno.ENODEV, f"{self.path}: the port is gone")
            try:
                port.write(data)
            except serial.SerialException as error:
                raise OSError(errno.EIO, f"{self.path}: {error}") from error
            self.counts.bytes_written += len(data)

    def read(self, timeout_s: float) -> tuple[bytes, LinkEvent | None]:
        """Bytes that have come, in order, up to the next event, and the event if there is one.

        Waits up to the time for the first; ``(b"", None)`` if nothing came.
        """
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return b"", None
        blocks: list[bytes] = []
        size = 0
        while True:
            if isinstance(item, LinkEvent):
                return b"".join(blocks), item
            blocks.append(item)
            size += len(item)
            # A bound, so that whoever reads comes up for air.
            if size >= 1 << 20:
                return b"".join(blocks), None
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return b"".join(blocks), None

    def reopen(self) -> None:
        """Treat the port as lost: close it and open it anew."""
        os.write(self._wake_write, b"r")

    def close(self) -> None:
        """Give the port back; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        os.write(self._wake_write, b"c")
        self._reader.join(timeout=10)
        self._close_port()

    def _close_port(self) -> None:
        # Closed before the device is back, or it comes back under another name.
        with self._lock:
            port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError, serial.SerialException):
                port.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            port = self._port
            if port is not None:
                self._drain(port.fileno())
                self._close_port()
                if self._closing.is_set():
                    break
                self.counts.times_lost += 1
                self._queue.put(LinkEvent.LOST)
            self._open_again()

    def _drain(self, descriptor: int) -> None:
        """Read until the port fails, a wake-up asks for a new one, or the link closes."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        put, counts, read = self._queue.put, self.counts, os.read
        while True:
            ready = poll.poll()
            for number, flags in ready:
                if number == self._wake_read:
                    os.read(self._wake_read, 64)
                    return
                if not flags & select.POLLIN:
                    return
                # All that there is before the next poll: a terminal hands over 4 KiB at most, and
                # every call may cost a wait for the interpreter.
                block, fresh = b"", True
                while fresh or len(block) >= _TERMINAL_BYTES:
                    try:
                        block = read(descriptor, _READ_BYTES)
                    except BlockingIOError:
                        break
                    except OSError:
                        return
                    if not block:
                        # Ready but empty: the device is gone. Empty after a block: just that.
                        if fresh:
                            return
                        break
                    fresh = False
                    counts.bytes_read += len(block)
                    put(block)

    def _open_again(self) -> None:
        for attempt in range(1 << 30):
            wait = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
            if self._closing.wait(wait):
                return
            try:
                port = _open(self.path, self._baud)
            except PortError:
                continue
            with self._lock:
                self._port = port
            self._queue.put(LinkEvent.OPENED)
            return
