"""Where the twin is told of other conditions: datagrams on a Unix socket, one change each.

The form of a change is :mod:`.conditions`' own. What is none is not carried out, and told.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .conditions import Conditions, changed

__all__ = ["ConditionsSocket", "tell_conditions"]

_LONGEST = 1 << 16
_PATIENCE_S = 0.5


class ConditionsSocket:
    """Takes changes as they come.

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
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))

    def receive(self, conditions: Conditions) -> tuple[Conditions, list[str]]:
        """Conditions after all that has come, and what was refused and why."""
        refused = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._socket.recv(_LONGEST)
                try:
                    conditions = changed(conditions, json.loads(data))
                except ValueError as error:
                    refused.append(str(error))
        return conditions, refused

    def close(self) -> None:
        """Take the socket away."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def tell_conditions(path: Path, change: Mapping[str, Any]) -> None:
    """Tell a twin of a change; in force from the next slot that it simulates.

    Raises
    ------
    OSError
        Nobody listens there, or takes what has been told before.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_PATIENCE_S)
        sender.sendto(json.dumps(dict(change)).encode(), str(path))
