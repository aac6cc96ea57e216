"""/health for people and probes, /histogram of arrival times, /metrics for Prometheus."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bellrelay.settings.model import Health, split_address

__all__ = ["HealthServer", "plain_numbers"]

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

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        s = self._status()
        gauges = {
            "up": ("1 while the board is acquiring", float(s["state"] == "running")),
            "heartbeat_age_seconds": ("since the board's last heartbeat", s["heartbeat_age_s"]),
            "live_fraction": ("slots in which every detector could have fired", s["live_fraction"]),
            "log_durable_sequence": ("records durable in the log", s["log"]["durable"]),
            "consumers": ("connections that get announcements", len(s["consumers"])),
            "temperature_celsius": ("of the board", s["temperature_c"]),
        }
        for name, (text, number) in gauges.items():
            if number is not None and not math.isnan(number):
                yield GaugeMetricFamily(f"bellrelay_relay_{name}", text, value=number)
        board = CounterMetricFamily(
            "bellrelay_board", "counters of the board in this acquisition", labels=["counter"]
        )
        for name, number in s["counters"].items():
            board.add_metric([name], number)
        yield board
        received = CounterMetricFamily(
            "bellrelay_announcements_received",
            "announcements that came in this acquisition",
            labels=["outcome"],
        )
        lost = CounterMetricFamily(
            "bellrelay_link_lost", "lost between board and daemon", labels=["what"]
        )
        link = CounterMetricFamily("bellrelay_link", "the serial line", labels=["what"])
        for family, values in (
            (received, s["received"]),
            (lost, s["link_lost"]),
            (link, s["link"]),
        ):
            for name, number in values.items():
                family.add_metric([name], number)
            yield family
        yield CounterMetricFamily(
            "bellrelay_gaps", "gaps recorded since the daemon started", value=s["gaps"]
        )


class HealthServer:
    """Answers on one address; the status comes from a function."""

    def __init__(
        self,
        settings: Health,
        status: Callable[[], Status],
        histogram: Callable[[], Status] = dict,
    ) -> None:
        self.port: int | None = None
        self._settings = settings
        self._status = status
        self._histogram = histogram
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(status))
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, if an address is set. OSError: it is in use."""
        if self._settings.listen is None:
            return
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/histogram", self._arrivals),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, port = split_address(self._settings.listen)
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        status = plain_numbers(self._status())
        # A probe looks at the code alone.
        code = 200 if status["state"] == "running" else 503
        return web.json_response(status, status=code, dumps=lambda v: json.dumps(v, indent=1))

    async def _arrivals(self, _request: web.Request) -> web.Response:
        return web.json_response(plain_numbers(self._histogram()))

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )
