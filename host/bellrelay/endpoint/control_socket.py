"""Orders to a running endpoint: a socket in its store's directory, for its owner alone.

One line of JSON in, one out. The directory is its owner's, and so is the socket: mode 0600.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ControlSocket", "NotRunning", "Refused", "ask", "socket_path"]

_LONGEST = 1 << 16

Order = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class NotRunning(OSError):
    """No endpoint takes orders there."""

    def __str__(self) -> str:
        return str(self.args[0])


class Refused(Exception):
    """The endpoint does not do it; its words."""


def socket_path(store_directory: Path) -> Path:
    """Where an endpoint with this store takes orders."""
    return store_directory / "control"


class ControlSocket:
    """The daemon's end.

    Parameters
    ----------
    path
        Of the socket; what is there is replaced.
    orders
        By name, what is done; :class:`Refused` and ValueError are told to who asked.
    """

    def __init__(self, path: Path, orders: Mapping[str, Order]) -> None:
        self._path = path
        self._orders = dict(orders)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Take orders. OSError: no socket can be made there."""
        self._path.unlink(missing_ok=True)
        # In a directory of mode 0700: nobody can come between the two.
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=_LONGEST)
        os.chmod(self._path, 0o600)

    async def stop(self) -> None:
        """Take no more orders."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            answer = await self._answer(await reader.readline())
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            wanted = json.loads(line)
            order = self._orders[wanted.pop("order")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"refused": f"no order; there are {', '.join(sorted(self._orders))}"}
        try:
            return dict(await order(wanted))
        except (Refused, ValueError, OSError) as error:
            return {"refused": str(error)}


def ask(path: Path, order: str, timeout_s: float, **values: Any) -> dict[str, Any]:
    """Give an order to a running endpoint, and wait until it is done.

    Raises
    ------
    NotRunning
        Nobody takes it.
    Refused
        The endpoint does not do it.
    TimeoutError
        It has not been done in this time; it may be later.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        try:
            line.connect(str(path))
        except OSError as error:
            raise NotRunning(f"{path}: {error.strerror or error}") from None
        line.sendall(json.dumps({"order": order, **values}).encode() + b"\n")
        with line.makefile("rb") as answers:
            text = answers.readline(_LONGEST)
    if not text:
        raise NotRunning(f"{path}: the endpoint ended")
    answer: dict[str, Any] = json.loads(text)
    if "refused" in answer:
        raise Refused(str(answer["refused"]))
    return answer
