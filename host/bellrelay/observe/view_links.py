"""What the live view shows of the endpoints: their own /health, asked now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

__all__ = ["EndpointAsker"]

_EVERY_S = 2.0
_TIMEOUT_S = 1.5


class EndpointAsker:
    """Asks the endpoints; what they say is shown and goes no further.

    Parameters
    ----------
    urls
        Of their health servers, without /health.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._said: dict[str, Any] = {}
        self._key: dict[str, tuple[float, int]] = {}
        self._rate: dict[str, float] = {}

    def summary(self) -> dict[str, Any]:
        """Error rates and key rate of the first endpoint that tells them, and all faults."""
        out: dict[str, Any] = {"endpoints": {}, "faults": []}
        for url, said in self._said.items():
            out["endpoints"][url] = said["shown"]
            out["faults"] += said["faults"]
            for name in ("error_z", "error_x", "key_bits_per_s"):
                if out.get(name) is None:
                    out[name] = said["shown"].get(name)
        return out

    async def run(self) -> None:
        """For ever."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while True:
                await asyncio.gather(*(self._ask(client, url) for url in self._urls))
                await asyncio.sleep(_EVERY_S)

    async def _ask(self, client: aiohttp.ClientSession, url: str) -> None:
        try:
            async with client.get(f"{url}/health") as answer:
                status = await answer.json(content_type=None)
            self._said[url] = self._taken(url, status)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            shown = {"state": "not reached", "reason": str(error) or type(error).__name__}
            self._said[url] = {"shown": shown, "faults": []}

    def _taken(self, url: str, status: Mapping[str, Any]) -> dict[str, Any]:
        last = status["last_block"]
        now = asyncio.get_running_loop().time()
        bits = status["keys"]["bits"]
        then = self._key.get(url)
        if then is None or now - then[0] >= 10.0:
            if then is not None:
                self._rate[url] = (bits - then[1]) / (now - then[0])
            self._key[url] = (now, bits)
        faults = (status.get("faults") or {}).get("active", [])
        return {
            "shown": {
                "endpoint_id": status["endpoint_id"],
                "state": status["state"],
                "error_z": last["error_z"],
                "error_x": last["error_x"],
                "key_bits": bits,
                "key_bits_per_s": self._rate.get(url),
                "blocks_in_work": len(status["pipeline"]["in_work"]),
            },
            "faults": [
                {k: f.get(k) for k in ("fault", "title", "subject", "probability", "runbook")}
                for f in faults
            ],
        }
