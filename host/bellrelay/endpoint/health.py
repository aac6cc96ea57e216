"""/health for people and probes, /metrics for Prometheus; no key and no choice is in either."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bellrelay.relay.health import plain_numbers
from bellrelay.settings.model import Health, split_address

__all__ = ["EndpointHealth"]

Status = Mapping[str, Any]


class _Collector:
    """Metrics of a status, made when they are asked for."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        s = self._status()
        gauges = {
            "up": ("1 while relay and peer are connected", float(s["state"] == "running")),
            "blocks_in_work": ("blocks on their way to a key", len(s["pipeline"]["in_work"])),
            "blocks_waiting": ("complete lists that wait", s["pipeline"]["waiting"]),
            "pool_bits": ("one-time key left for tags of ours", s["key_pool"]["bits"]),
            "relay_quarantined": ("1 once the relay broke the rules", float(s["quarantined"])),
        }
        for name, (text, number) in gauges.items():
            yield GaugeMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)
        blocks = CounterMetricFamily(
            "bellrelay_endpoint_blocks", "blocks by state, aborted ones by cause", labels=["state"]
        )
        for state, number in s["pipeline"]["blocks"].items():
            blocks.add_metric([state], number)
        yield blocks
        for name, text, number in (
            ("key_bits", "bits of key stored since the beginning", s["keys"]["bits"]),
            ("alarms", "things that nobody honest does", s["alarms"]),
            ("peer_reconnects", "connections to the peer after the first", s["peer"]["reconnects"]),
        ):
            yield CounterMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)


class EndpointHealth:
    """Answers on one address; the status comes from a function."""

    def __init__(self, settings: Health, status: Callable[[], Status]) -> None:
        self.port: int | None = None
        self._settings = settings
        self._status = status
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(status))
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, if an address is set. OSError: it is in use."""
        if self._settings.listen is None:
            return
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._metrics)])
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

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )
