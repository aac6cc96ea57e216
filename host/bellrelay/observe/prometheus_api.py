"""Asks a Prometheus by its HTTP API; what it does not say is told, never guessed."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

__all__ = ["PrometheusApi", "PrometheusAway", "PrometheusRefused", "Series", "Trace"]

_MOST_BYTES = 1 << 27
_MOST_POINTS = 10_000
"""Of one series in one answer; a server gives 11,000 at most."""
_ABSENT = (aiohttp.ClientError, TimeoutError, OSError)


class PrometheusAway(Exception):
    """Nobody answers, or it is no Prometheus; the message says where and why."""


class PrometheusRefused(Exception):
    """It answered with an error: a query that it does not understand, or that asks too much."""


@dataclass(frozen=True)
class Series:
    """Labels, and a value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Trace:
    """Labels, and values over time: UTC seconds, only where there is one."""

    labels: Mapping[str, str]
    times_s: Sequence[float]
    values: Sequence[float]


class PrometheusApi:
    """One server; use it as a context manager.

    Parameters
    ----------
    url
        Without / at its end.
    timeout_s
        For a whole answer.
    tls
        If the address begins with https; None: as this machine trusts.

    Raises
    ------
    PrometheusAway, PrometheusRefused
        By every question.
    """

    def __init__(self, url: str, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def __aenter__(self) -> PrometheusApi:
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        self._client = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._client.close()

    async def query(self, expr: str, at_s: float | None = None) -> list[Series]:
        """An instant vector; at a time, or now. Values that are no number are left out."""
        more = {} if at_s is None else {"time": f"{at_s:.3f}"}
        found = await self._ask("query", {"query": expr, **more})
        series = [Series(each["metric"], float(each["value"][1])) for each in found["result"]]
        return [one for one in series if math.isfinite(one.value)]

    async def trace(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Trace]:
        """From the start to the end in steps; in as many questions as that takes."""
        found: dict[tuple[tuple[str, str], ...], tuple[list[float], list[float]]] = {}
        begin = start_s
        while begin <= end_s:
            until = min(end_s, begin + (_MOST_POINTS - 1) * step_s)
            asked = {"query": expr, "start": f"{begin:.3f}", "end": f"{until:.3f}"}
            said = await self._ask("query_range", {**asked, "step": f"{step_s:.3f}"})
            for each in said["result"]:
                key = tuple(sorted(each["metric"].items()))
                times, values = found.setdefault(key, ([], []))
                for at, text in each["values"]:
                    if math.isfinite(value := float(text)):
                        times.append(float(at))
                        values.append(value)
            begin += _MOST_POINTS * step_s
        return [Trace(dict(key), *both) for key, both in sorted(found.items()) if both[0]]

    async def rule_groups(self) -> list[dict[str, Any]]:
        """Groups of rules, with the alerts that each has now."""
        return list((await self._ask("rules", {}))["groups"])

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        try:
            # By POST: a query may be longer than an address may be.
            method = "GET" if path == "rules" else "POST"
            async with self._client.request(
                method, f"{self.url}/api/v1/{path}", data=parameters or None
            ) as answer:
                body, code = await answer.content.read(_MOST_BYTES), answer.status
                while not answer.content.at_eof() and len(body) < _MOST_BYTES:
                    body += await answer.content.read(_MOST_BYTES - len(body))
        except _ABSENT as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise PrometheusAway(f"{self.url}: no Prometheus answers: {why}") from None
        try:
            said = json.loads(body)
            status = said["status"]
        except (ValueError, TypeError, KeyError):
            raise PrometheusAway(f"{self.url}: no Prometheus (HTTP {code})") from None
        if status != "success":
            raise PrometheusRefused(f"{self.url}: {said.get('error', 'an error')}")
        data: dict[str, Any] = said["data"]
        return data
