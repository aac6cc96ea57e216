"""Lines of text to an instrument and back, over TCP."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from .lab_devices import DeviceSilent

__all__ = ["ScpiConnection"]

_LONGEST = 4096


class ScpiConnection:
    """One instrument. Connects when it is first asked, and again after it has failed.

    Parameters
    ----------
    host, port
        Where it listens; 5025 is usual.
    timeout_s
        Longest wait for a connection, for an answer, and for a command to be taken.
    terminator
        What ends a line.

    Attributes
    ----------
    connections : int
        How often it has connected.

    Raises
    ------
    DeviceSilent
        By every method. The connection is given up then: an answer that comes late must not be
        taken for that to the next question.
    """

    def __init__(self, host: str, port: int, timeout_s: float, terminator: str = "\n") -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._terminator = terminator.encode()
        self._socket: socket.socket | None = None
        self._rest = b""
        self.connections = 0

    def __repr__(self) -> str:
        return f"ScpiConnection({self._address[0]}:{self._address[1]})"

    def connect(self) -> None:
        """See that there is a connection, one on which nothing is left over."""
        self._drop_what_nobody_asked_for()
        try:
            self._connected()
        except OSError as error:
            raise self._silent("no connection", error) from error

    def write(self, command: str) -> None:
        """Send a command that has no answer."""
        try:
            self._connected().sendall(command.encode("ascii") + self._terminator)
        except OSError as error:
            raise self._silent(f"{command!r} could not be sent", error) from error

    def ask(self, question: str, timeout_s: float | None = None) -> str:
        """Send a question; its answer without what ends the line."""
        self.connect()
        self.write(question)
        end = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        try:
            while self._terminator not in self._rest:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                there = self._connected()
                there.settimeout(left)
                data = there.recv(_LONGEST)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "it has hung up")
                self._rest += data
                if len(self._rest) > _LONGEST:
                    raise OSError(errno.EMSGSIZE, "its answer has no end")
        except OSError as error:
            raise self._silent(f"no answer to {question!r}", error) from error
        answer, _, self._rest = self._rest.partition(self._terminator)
        return answer.decode("ascii", "replace").strip()

    def close(self) -> None:
        """Hang up; the next command connects anew."""
        there, self._socket = self._socket, None
        self._rest = b""
        if there is not None:
            with contextlib.suppress(OSError):
                there.close()

    def _drop_what_nobody_asked_for(self) -> None:
        """Whatever has come since the last answer belongs to no question of ours."""
        if self._socket is None:
            return
        self._socket.setblocking(False)
        try:
            self._socket.recv(_LONGEST)
        except BlockingIOError:
            if self._rest:
                self.close()
        except OSError:
            self.close()
        else:
            # Something, or the end: either way it is another conversation now.
            self.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
        self._socket.settimeout(self._timeout_s)
        return self._socket

    def _silent(self, what: str, error: OSError) -> DeviceSilent:
        self.close()
        host, port = self._address
        why = (
            f"not within {self._timeout_s:g} s"
            if isinstance(error, TimeoutError)
            else str(error.strerror or error)
        )
        return DeviceSilent(error.errno or errno.EIO, f"{host}:{port}: {what}: {why}")
