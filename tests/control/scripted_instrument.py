"""A TCP instrument that does as a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable


class ScriptedInstrument:
    """Answers lines by a table; what is no question changes it.

    ``answers``: question to answer, or to a function that gives it; None: no answer. ``taken``: all
    lines that came. ``set_hook``: called with what is no question.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str | Callable[[], str] | None] = {"*IDN?": "ACME,ODL-650,1,1.0"}
        self.taken: list[str] = []
        self.connections = 0
        self.delay_s = 0.0
        self.after = b""
        self.set_hook: Callable[[str], None] = lambda _line: None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._there: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """End the conversation that is under way."""
        if self._there is not None:
            with contextlib.suppress(OSError):
                self._there.shutdown(socket.SHUT_RDWR)

    def say(self, text: bytes) -> None:
        """What nobody asked for."""
        assert self._there is not None
        self._there.sendall(text)

    def close(self) -> None:
        self._server.close()
        self.hang_up()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                there, _ = self._server.accept()
                self.connections += 1
                self._there = there
                with (
                    there,
                    there.makefile("r", encoding="ascii") as lines,
                    contextlib.suppress(OSError),
                ):
                    for line in lines:
                        self._take(there, line.strip())

    def _take(self, there: socket.socket, line: str) -> None:
        self.taken.append(line)
        if "?" not in line:
            self.set_hook(line)
            return
        answer = self.answers.get(line)
        if callable(answer):
            answer = answer()
        if answer is not None:
            time.sleep(self.delay_s)
            there.sendall(answer.encode() + b"\n" + self.after)
