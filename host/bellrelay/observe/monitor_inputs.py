"""Where monitors' lines come in: a Unix socket, TCP, and files that are followed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import structlog

from bellrelay.service.followed_file import FollowedFile
from bellrelay.service.line_splitter import LineSplitter
from bellrelay.service.tls import server_context
from bellrelay.settings.model import split_address
from bellrelay.settings.monitors import MonitorsSettings

from .monitor_line import LONGEST_LINE, Cause

__all__ = ["MonitorInputs"]

_POLL_S = 0.25
_PIECE = 1 << 16
_log = structlog.get_logger(__name__)


class MonitorInputs:
    """One event loop's.

    Parameters
    ----------
    settings
        Where.
    take
        Gets every line, without its newline.
    refuse
        Gets what is no line: cause, text, how many.

    Attributes
    ----------
    port : int or None
        Where it listens by TCP, once started.
    connections : int
        That are open.
    """

    def __init__(
        self,
        settings: MonitorsSettings,
        take: Callable[[bytes], None],
        refuse: Callable[[Cause, str, int], None],
    ) -> None:
        self.port: int | None = None
        self._settings = settings
        self._take = take
        self._refuse = refuse
        self._open: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []
        # Lines without a time of their own are of now: what stands there already is not.
        self._files = [
            FollowedFile(path, from_end=0, longest=LONGEST_LINE) for path in settings.files
        ]
        self._complaints: dict[Path, str] = {}

    @property
    def connections(self) -> int:
        """That are open."""
        return len(self._open)

    def complaints(self) -> dict[str, str]:
        """By file that cannot be read, why."""
        return {str(path): why for path, why in dict(self._complaints).items() if why}

    async def start(self) -> None:
        """Listen. OSError: an address is in use, or a certificate cannot be read."""
        settings = self._settings
        self._poll_files()
        if settings.listen is not None:
            context = None if settings.tls is None else server_context(*settings.tls.files)
            host, port = split_address(settings.listen)
            server = await asyncio.start_server(self._serve, host, port, ssl=context)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]
        if settings.unix_socket is not None:
            await self._start_unix(settings.unix_socket, int(settings.socket_mode, 8))

    async def _start_unix(self, path: Path, mode: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise OSError(f"{path}: there is something else than a socket")
            path.unlink()
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            ours.bind(str(path))
            # Nobody is let in before he listens.
            path.chmod(mode)
            self._servers.append(await asyncio.start_unix_server(self._serve, sock=ours))
        except BaseException:
            ours.close()
            raise

    async def run(self) -> None:
        """Follow the files, until it is cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            self._poll_files()

    async def stop(self) -> None:
        """Hang up, and stop listening."""
        for server in self._servers:
            server.close()
        for writer in list(self._open):
            writer.close()
        if self._settings.unix_socket is not None and self._servers:
            self._settings.unix_socket.unlink(missing_ok=True)
        for file in self._files:
            file.close()

    def _poll_files(self) -> None:
        for file in self._files:
            torn, long = file.torn, file.too_long
            try:
                lines = file.read()
            except OSError as error:
                why = error.strerror or str(error)
                if self._complaints.get(file.path) != why:
                    _log.error("file of monitors not readable", file=str(file.path), why=why)
                self._complaints[file.path] = why
                continue
            self._complaints.pop(file.path, None)
            self._lost(str(file.path), file.torn - torn, file.too_long - long)
            for line in lines:
                self._take(line)

    def _lost(self, where: str, torn: int, long: int) -> None:
        if torn:
            self._refuse(Cause.TORN, f"{where}: a line without its end", torn)
        if long:
            self._refuse(Cause.TOO_LONG, f"{where}: more than {LONGEST_LINE} bytes", long)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._settings.max_connections:
            writer.close()
            return
        self._open.add(writer)
        lines = LineSplitter(LONGEST_LINE)
        try:
            while piece := await reader.read(_PIECE):
                long = lines.too_long
                for line in lines.take(piece):
                    self._take(line)
                self._lost("a connection", 0, lines.too_long - long)
        except OSError:
            pass
        finally:
            # Half a number is another number: what has no newline is no reading.
            self._lost("a connection", int(lines.begin_anew()), 0)
            self._open.discard(writer)
            writer.close()
