"""/health for people and probes, /metrics for Prometheus, and pages of a daemon's own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bellrelay.settings.model import Health, split_address

__all__ = ["HealthServer", "Status", "plain_numbers"]

Status = Mapping[str, Any]


def plain_numbers(value: Any) -> Any:
    """The same with null instead of what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: plain_numbers(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(v) for v in value]
    return value


class _Collector:
    """Metrics of a status, made when they are asked for."""

    def __init__(
        self, status: Callable[[], Status], metrics: Callable[[Status], Iterable[Metric]]
    ) -> None:
        self._status = status
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics(self._status())


class HealthServer:
    """Answers on one address, in plain HTTP.

    Parameters
    ----------
    settings
        Where; nowhere if no address is set.
    status
        What /health says, plain types and nothing secret; 200 while its ``state`` is ``running``,
        503 otherwise. ``started_utc_ns``, when this began to listen, is added to it.
    metrics
        What /metrics says, of a status.
    pages
        Further paths, each with what makes its JSON.

    Attributes
    ----------
    port : int or None
        Where it listens.
    """

    def __init__(
        self,
        settings: Health,
        status: Callable[[], Status],
        metrics: Callable[[Status], Iterable[Metric]],
        pages: Mapping[str, Callable[[], Status]] | None = None,
    ) -> None:
        self.port: int | None = None
        self._settings = settings
        self._status = status
        self._pages = dict(pages or {})
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(status, metrics))
        self._runner: web.AppRunner | None = None
        self._started_utc_ns: int | None = None

    async def start(self) -> None:
        """Listen, if an address is set. OSError: it is in use."""
        if self._settings.listen is None:
            return
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._scraped)])
        app.add_routes([web.get(path, self._page) for path in self._pages])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, port = split_address(self._settings.listen)
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]
        self._started_utc_ns = time.time_ns()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        status = plain_numbers({**self._status(), "started_utc_ns": self._started_utc_ns})
        # A probe looks at the code alone.
        code = 200 if status["state"] == "running" else 503
        return web.json_response(status, status=code, dumps=lambda v: json.dumps(v, indent=1))

    async def _page(self, request: web.Request) -> web.Response:
        return web.json_response(plain_numbers(self._pages[request.path]()))

    async def _scraped(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )
