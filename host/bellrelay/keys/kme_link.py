"""The channel to the other KME: questions and answers both ways over one TLS connection.

When a connection ends, what was asked over it and not answered may or may not have been done at
the other side, or may still be done. Who asked withdraws it over the next one (see
:mod:`.reserver`); the serial of a reservation keeps what comes late from being done after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bellrelay.service.peer_connection import Streams

from .kme_frames import FrameError, encode, read_frame

__all__ = ["Answer", "KmeLink", "PeerAway", "PeerRefused"]

Answer = Callable[[Any], Awaitable[Any]]
"""Makes the answer of a question; PeerRefused: says why not."""

_VERSION = 1
_HELLO_S = 10.0
_PING_S = 2.0
_SILENT_S = 8.0
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_log = structlog.get_logger(__name__)


class PeerAway(ConnectionError):
    """The other KME cannot be asked now; whether it did what was asked is not known."""


class PeerRefused(Exception):
    """The other KME says no, or is not set up as this one is."""


class KmeLink:
    """One side of the channel.

    Parameters
    ----------
    connect
        Gives the next connection.
    hello
        What both sides must agree in, by name; compared on every connection.
    own_id, peer_id
        kme_id of each.
    answers
        By kind of question.
    on_connected
        Called on each connection before anybody is told that it is there.

    Attributes
    ----------
    connected : bool
    reason : str
        Why not.
    connections : int
        So far.
    alarms : int
        Connections of a KME that is set up otherwise, or that sent what no KME sends.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Streams]],
        own_id: str,
        peer_id: str,
        hello: Mapping[str, Any],
        answers: Mapping[str, Answer],
        on_connected: Callable[[], Awaitable[None]],
    ) -> None:
        self.connected = False
        self.reason = "not yet"
        self.connections = 0
        self.alarms = 0
        self._connect = connect
        self._own_id = own_id
        self._peer_id = peer_id
        self._hello = dict(hello)
        self._answers = {"ping": _pong, **answers}
        self._on_connected = on_connected
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._heard = 0.0
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, kind: str, body: Any, timeout_s: float = 10.0) -> Any:
        """Ask the other KME.

        Raises
        ------
        PeerAway
            There is no connection, or it ended, or no answer came in time.
        PeerRefused
            It says no.
        """
        writer = self._writer
        if writer is None:
            raise PeerAway(self.reason)
        self._number += 1
        number = self._number
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            writer.write(encode({"id": number, "ask": kind, "body": body}))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise PeerAway("no answer in time") from None
        finally:
            self._waiting.pop(number, None)

    async def run(self) -> None:
        """Connect for ever; ends by cancellation."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                reader, writer = await self._connect()
            except OSError as error:
                self.reason = _why(error)
            else:
                try:
                    await self._session(reader, writer)
                except PeerRefused as error:
                    self.alarms += 1
                    self.reason = str(error)
                    _log.error("other KME refused", why=self.reason)
                except FrameError as error:
                    self.alarms += 1
                    self.reason = str(error)
                except (OSError, EOFError) as error:
                    self.reason = _why(error)
                finally:
                    writer.transport.abort()
            if time.monotonic() - began > _SILENT_S:
                failures = 0
            await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode({"version": _VERSION, "kme_id": self._own_id, **self._hello}))
        async with asyncio.timeout(_HELLO_S):
            self._check_hello(await read_frame(reader))
        self._heard = time.monotonic()
        self.connections += 1
        self._writer = writer
        listening = asyncio.ensure_future(self._listen(reader, writer))
        greeting = asyncio.ensure_future(self._greet())
        pinging = asyncio.ensure_future(self._ping(writer))
        try:
            await asyncio.wait((listening, pinging, greeting), return_when=asyncio.FIRST_COMPLETED)
            if greeting.done() and greeting.exception() is None:
                await asyncio.wait((listening, pinging), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.connected, self._writer = False, None
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(PeerAway("the connection ended"))
            for task in (listening, pinging, greeting):
                task.cancel()
            ends = await asyncio.gather(listening, pinging, greeting, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _check_hello(self, hello: Mapping[str, Any]) -> None:
        expected = {"version": _VERSION, "kme_id": self._peer_id, **self._hello}
        wrong = sorted(name for name in expected if hello.get(name) != expected[name])
        if wrong:
            raise PeerRefused(f"the two KMEs differ in {', '.join(wrong)}")

    async def _greet(self) -> None:
        await self._on_connected()
        self.connected, self.reason = True, ""
        _log.info("other KME connected", kme=self._peer_id)

    async def _ping(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(_PING_S)
            if time.monotonic() - self._heard > _SILENT_S:
                raise PeerAway("silent")
            with contextlib.suppress(PeerAway):
                await self.ask("ping", None, _SILENT_S)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await read_frame(reader)
            self._heard = time.monotonic()
            number = frame.get("id")
            if not isinstance(number, int):
                raise FrameError("a frame without a number")
            if "ask" in frame:
                task = asyncio.ensure_future(self._reply(writer, number, frame))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
                continue
            future = self._waiting.get(number)
            if future is None or future.done():
                continue
            if "refused" in frame:
                future.set_exception(PeerRefused(str(frame["refused"])[:200]))
            else:
                future.set_result(frame.get("body"))

    async def _reply(
        self, writer: asyncio.StreamWriter, number: int, frame: Mapping[str, Any]
    ) -> None:
        answer = self._answers.get(frame["ask"])
        try:
            if answer is None:
                raise PeerRefused("no such question")
            said: dict[str, Any] = {"id": number, "body": await answer(frame.get("body"))}
        except PeerRefused as error:
            said = {"id": number, "refused": str(error)}
        except Exception as error:
            _log.error("question of other KME failed", error=type(error).__name__)
            said = {"id": number, "refused": f"failed: {type(error).__name__}"}
        if not writer.transport.is_closing():
            writer.write(encode(said))


async def _pong(_body: Any) -> None:
    return None


def _why(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
