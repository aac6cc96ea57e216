"""Asks daemons for their /health, and never waits long for one that does not answer."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

__all__ = ["HealthAsker"]

_MOST_BYTES = 1 << 22
_ABSENT = (aiohttp.ClientError, TimeoutError, OSError)


class HealthAsker:
    """Asks; use it as a context manager.

    Answers over plain HTTP are not authenticated: whoever stands in between can make a watch do
    what it does about a fault, that is, deny service. No key depends on them.

    Parameters
    ----------
    timeout_s
        For a whole answer.
    tls
        Of addresses that begin with https; None: as this machine trusts.

    Attributes
    ----------
    why : dict[str, str]
        By address: why there was no answer, the last time; empty if there was one.
    """

    def __init__(self, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.why: dict[str, str] = {}
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def __aenter__(self) -> HealthAsker:
        # A connection each: one that is kept open would hide a daemon that takes no new ones.
        connector = aiohttp.TCPConnector(force_close=True, ssl=self._tls or True)
        self._client = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._client.close()

    async def ask(self, address: str) -> Mapping[str, Any] | None:
        """What /health says there, also with 503; None if nobody answers with a status."""
        try:
            async with self._client.get(f"{address}/health") as answer:
                body = await answer.content.read(_MOST_BYTES)
            status = json.loads(body)
        except _ABSENT as error:
            self.why[address] = " ".join(str(error).split()) or type(error).__name__
            return None
        except ValueError:
            self.why[address] = "no JSON"
            return None
        if not isinstance(status, dict) or "state" not in status:
            self.why[address] = "no status"
            return None
        self.why[address] = ""
        return status
