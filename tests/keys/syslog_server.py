"""Syslog servers for tests: one over TLS that can go away and come back, and a datagram one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bellrelay.service.tls import server_context


class TlsSyslogServer:
    """Takes octet-counted messages on one port.

    hang_up_after : it resets the connection once it has read so many messages.
    """

    def __init__(self, folder: Path, port: int = 0, hang_up_after: int | None = None) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.hang_up_after = hang_up_after
        self._context = server_context(
            folder / "siem.crt", folder / "siem.key", folder / "ca.crt", ssl.TLSVersion.TLSv1_2
        )
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                plain, _ = self._listener.accept()
            except TimeoutError:
                continue
            plain.settimeout(5)
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, True) as tls:
                self.connections += 1
                self._read(tls)

    def _read(self, tls: ssl.SSLSocket) -> None:
        tls.settimeout(0.05)
        data = b""
        while True:
            try:
                piece = tls.recv(65536)
            except TimeoutError:
                # Whatever came before the end is read.
                if self._stop.is_set():
                    return
                continue
            if not piece:
                tls.unwrap()
                return
            data += piece
            while (message := _message(data)) is not None:
                data = data[message[0] :]
                self.messages.append(message[1])
                if self.hang_up_after is not None and len(self.messages) >= self.hang_up_after:
                    self.hang_up_after = None
                    # Unread bytes and no lingering: a reset, as when the machine dies.
                    linger = struct.pack("ii", 1, 0)
                    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()


def _message(data: bytes) -> tuple[int, bytes] | None:
    length, space, rest = data.partition(b" ")
    if not space or len(rest) < int(length):
        return None
    end = len(length) + 1 + int(length)
    return end, data[len(length) + 1 : end]


def text_of(message: bytes) -> bytes:
    """The record's line in a message."""
    return message[message.index(b'] {"') + 2 :]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)
