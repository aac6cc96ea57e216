"""Where the simulated senders are told to send earlier or later: datagrams on a Unix socket.

A datagram is ``{"party": "alice", "delay_ps": -120.0}``. What is none of these is passed over, as a
sender's hardware would. The delay is in force from the next slot that is simulated; the twin
simulates some ticks ahead of its board.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
from pathlib import Path

from .choices import Party
from .clicks import MAX_STEER_PS, ClickStream

__all__ = ["SenderDelays", "command_delay"]


class SenderDelays:
    """The delays that were commanded last.

    Parameters
    ----------
    path
        Of the socket; what is there is replaced.

    Raises
    ------
    OSError
        No socket can be made there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted = dict.fromkeys(Party, 0.0)
        self._given = dict.fromkeys(Party, 0.0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))

    def receive(self) -> bool:
        """Take what has come; whether a sender has not got where it was told to."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(self._socket.recv(4096))
        return self._wanted != self._given

    def apply(self, stream: ClickStream) -> None:
        """Move the senders of a stream to where they were told to, as far as goes at once."""
        for party in Party:
            now = stream.simulated_at_ps(party)
            step = min(max(self._wanted[party] - now, -MAX_STEER_PS), MAX_STEER_PS)
            stream.steer(party, now + step)
            self._given[party] = now + step

    def close(self) -> None:
        """Take the socket away."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _take(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            command = json.loads(data)
            delay = float(command["delay_ps"])
            if math.isfinite(delay):
                self._wanted[Party[command["party"].upper()]] = delay


def command_delay(path: Path, party: Party, delay_ps: float) -> None:
    """Tell a simulated sender to send this much later than it would by itself.

    Raises
    ------
    OSError
        Nobody listens there.
    """
    message = json.dumps({"party": party.name.lower(), "delay_ps": delay_ps}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message, str(path))
