"""A key manager over HTTPS for tests: aiohttp with TLS, entries per tenant, and moods."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections import deque
from pathlib import Path
from typing import Any

from aiohttp import web

from bellrelay.service.tls import server_context


class HttpsKms:
    """Runs in a thread of its own.

    Attributes
    ----------
    entries : dict
        Body of each entry, by (tenant, key_id).
    puts : list
        (tenant, key_id, headers) of every PUT that came in, in order.
    moods : deque
        What to do with the next PUTs instead of what is right: a status, "lose" (take it, and hang
        up without an answer), or "hang up".
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.entries: dict[tuple[str, str], dict[str, Any]] = {}
        self.puts: list[tuple[str, str, dict[str, str]]] = []
        self.moods: deque[int | str] = deque()
        self.retry_after: str | None = None
        self.token: str | None = None
        self.port = port
        self._context = server_context(
            folder / "kms.crt", folder / "kms.key", folder / "ca.crt", ssl.TLSVersion.TLSv1_2
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._start())

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        path = "/v1/tenants/{tenant}/keys/{key_id}"
        app.add_routes([web.put(path, self._put), web.delete(path, self._delete)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    def close(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1"

    def keys(self, tenant: str = "acme") -> dict[str, bytes]:
        """Key bytes by key_id."""
        return {
            key_id: base64.b64decode(entry["key"])
            for (whose, key_id), entry in self.entries.items()
            if whose == tenant
        }

    async def _put(self, request: web.Request) -> web.Response:
        tenant, key_id = request.match_info["tenant"], request.match_info["key_id"]
        self.puts.append((tenant, key_id, dict(request.headers)))
        body = await request.json()
        mood = self.moods.popleft() if self.moods else None
        if self.token is not None and request.headers.get("Authorization") != self.token:
            return web.json_response({"message": "who are you?"}, status=401)
        if isinstance(mood, int):
            headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return web.json_response({"message": "not now"}, status=mood, headers=headers)
        assert request.transport is not None
        if mood == "hang up":
            request.transport.abort()
            return web.Response()
        known = self.entries.setdefault((tenant, key_id), body)
        if known["key"] != body["key"]:
            return web.json_response({"message": "another key has that name"}, status=409)
        if mood == "lose":
            request.transport.abort()
        return web.json_response({"key_id": key_id}, status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        known = self.entries.pop((request.match_info["tenant"], request.match_info["key_id"]), None)
        return web.Response(status=204 if known else 404)
