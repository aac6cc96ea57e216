"""The live view's web server: one page, its files, a WebSocket of messages, and the controls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from aiohttp import WSMsgType, web

from .view_control import ChangeRefused, ViewControl
from .view_records import CalibrationPictures

__all__ = ["ViewServer"]

_PAGE = files("bellrelay.observe") / "view_page"
_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_LONGEST = 1 << 16
_HEADERS = {
    # Nothing from elsewhere: the page works without a network, and no other page may frame it.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class ViewServer:
    """Serves one address; make it and call it in one event loop.

    Parameters
    ----------
    hello
        What a page gets first.
    message
        Makes the next message for all; None: there is none yet.
    every_s
        Time between messages.
    control
        Of changes.
    events
        The newest events of the relay's log, oldest first.
    records
        Of calibrations.

    Attributes
    ----------
    port : int or None
    watching : int
        Pages that are connected.
    """

    def __init__(
        self,
        hello: Callable[[], Mapping[str, Any]],
        message: Callable[[], bytes | None],
        every_s: float,
        control: ViewControl,
        events: Callable[[], list[Mapping[str, Any]]],
        records: CalibrationPictures,
    ) -> None:
        self.port: int | None = None
        self._hello = hello
        self._message = message
        self._every_s = every_s
        self._control = control
        self._events = events
        self._records = records
        self._pages: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    @property
    def watching(self) -> int:
        """Pages that are connected."""
        return len(self._pages)

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Listen. OSError: the address is in use."""
        app = web.Application(client_max_size=_LONGEST)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/page/{name}", self._file),
                web.get("/live", self._live),
                web.get("/events", self._said(self._events)),
                web.get("/records", self._said(self._records.shown)),
                web.get("/record/{name}.png", self._picture),
                web.get("/changes", self._said(self._control.history)),
                web.post("/change", self._change),
                web.post("/undo", self._change),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    async def run(self) -> None:
        """Send messages to all pages, for ever."""
        due = time.monotonic()
        while True:
            due = max(due + self._every_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            if self._pages:
                data = await asyncio.to_thread(self._message)
                if data is not None:
                    await asyncio.gather(*(self._send(page, data) for page in list(self._pages)))

    async def stop(self) -> None:
        """Hang up, and stop listening."""
        for page in list(self._pages):
            await page.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _send(self, page: web.WebSocketResponse, data: bytes) -> None:
        # A page that does not keep up misses messages; it is never waited for.
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            async with asyncio.timeout(self._every_s):
                await page.send_bytes(data)

    # ------------------------------------------------------------------------ what is asked for

    async def _index(self, _request: web.Request) -> web.Response:
        return _file("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return _file(request.match_info["name"])

    async def _picture(self, request: web.Request) -> web.Response:
        png = await asyncio.to_thread(self._records.picture, request.match_info["name"])
        if png is None:
            raise web.HTTPNotFound
        return web.Response(body=png, content_type="image/png")

    def _said(self, what: Callable[[], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(await asyncio.to_thread(what))

        return answer

    async def _live(self, request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="another page's script")
        page = web.WebSocketResponse(heartbeat=20.0, max_msg_size=_LONGEST)
        await page.prepare(request)
        await page.send_str(json.dumps(await asyncio.to_thread(self._greeting)))
        self._pages.add(page)
        try:
            async for said in page:
                if said.type is WSMsgType.TEXT and said.data == "hello":
                    await page.send_str(json.dumps(await asyncio.to_thread(self._greeting)))
        finally:
            self._pages.discard(page)
        return page

    def _greeting(self) -> dict[str, Any]:
        return {
            **self._hello(),
            "writable": self._control.writable,
            "tunable": dict(self._control.tunable()),
        }

    async def _change(self, request: web.Request) -> web.Response:
        peer = request.remote or "unknown"
        try:
            person = self._control.check(request.headers.get("Authorization", ""), peer)
            asked = await _json(request)
            reason = str(asked.get("reason") or "")[:200]
            if request.path == "/undo":
                await asyncio.to_thread(self._control.undo, reason, person, peer)
            else:
                values = asked.get("values")
                if not isinstance(values, dict) or not values:
                    raise ChangeRefused(400, "values: missing; allowed: keys and values")
                await asyncio.to_thread(self._control.change, values, reason, person, peer)
        except ChangeRefused as refused:
            return web.json_response({"message": str(refused)}, status=refused.status)
        greeting = await asyncio.to_thread(self._greeting)
        for page in list(self._pages):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await page.send_str(json.dumps(greeting))
        return web.json_response({"tunable": greeting["tunable"]})


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        raise ChangeRefused(400, "no JSON") from None
    if not isinstance(asked, dict):
        raise ChangeRefused(400, "allowed: a JSON object")
    return asked


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _file(name: str) -> web.Response:
    found = _PAGE / name
    kind = _TYPES.get(name.rpartition(".")[2])
    if "/" in name or kind is None or not found.is_file():
        raise web.HTTPNotFound
    return web.Response(body=found.read_bytes(), content_type=kind, charset="utf-8")
