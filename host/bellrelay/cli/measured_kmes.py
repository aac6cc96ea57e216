"""What a key costs two KMEs: processor time of either, and a step made durable."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bellrelay.cli.kme_pair import SITES, Started, contexts, running_kmes, sae
from bellrelay.cli.measured_pair import cpu_seconds
from bellrelay.cli.sae_connection import SaeConnection

__all__ = ["kme_rates"]

_CLIENTS = 16
_MANY = 16
_REQUESTS = 1200
_ALONE = 150
_BLOCKS = 4


def kme_rates() -> dict[str, Any]:
    """The part `kme` of a file of rates.

    All masters are at one KME: what that computes is of Get key, what the other does is of
    adopting; then all slaves fetch at the other. With one key per request and with many. A step on
    disk is a third of what a request takes alone, less what both compute for it. On this disk, not
    where memory may pose as one.
    """
    with tempfile.TemporaryDirectory(dir=".", prefix=".bellrelay-measure-") as name:
        folder = Path(name).resolve()
        with running_kmes(folder, _BLOCKS) as kmes:
            return asyncio.run(_measured(folder, kmes))


async def _measured(folder: Path, kmes: list[Started]) -> dict[str, Any]:
    client = _Client(folder, kmes)
    await client.ask(1, _ALONE, 4)  # what is only done once
    one = await client.ask(1, _REQUESTS, _CLIENTS)
    many = await client.ask(_MANY, _REQUESTS // _MANY, _CLIENTS)
    out: dict[str, Any] = {}
    for what in ("get", "adopt", "fetch"):
        key_s = max(0.0, (many[what] - one[what]) / (_MANY - 1))
        out[what] = {"request_s": max(0.0, one[what] - key_s), "key_s": key_s}
    alone = await client.ask(1, _ALONE, 1)
    out["commit_s"] = max(0.0, alone["alone_s"] - one["get"] - one["adopt"]) / 3.0
    client.close()
    return out


class _Client:
    """SAEs of one KME that ask, and theirs at the other that fetch."""

    def __init__(self, folder: Path, kmes: list[Started]) -> None:
        tls = contexts(folder)
        self._kmes = kmes
        self._names = sae(SITES[0], 0), sae(SITES[1], 0)
        self._masters = [
            SaeConnection(kmes[0].port, SITES[0], tls[self._names[0]]) for _ in range(_CLIENTS)
        ]
        self._slaves = [
            SaeConnection(kmes[1].port, SITES[1], tls[self._names[1]]) for _ in range(_CLIENTS)
        ]

    async def ask(self, keys: int, requests: int, clients: int) -> Mapping[str, float]:
        """Seconds that the KMEs compute per request; alone_s: that a request takes, the median."""
        own, other = self._masters[:clients], self._slaves[:clients]
        for connection in (*own, *other):
            await connection.open()
        given: list[list[str]] = []
        took: list[float] = []
        left = requests

        async def master(connection: SaeConnection) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                begun = time.perf_counter()
                path = f"/api/v1/keys/{self._names[1]}/enc_keys?number={keys}"
                answer = await connection.ask("GET", path)
                if answer.code != 200:
                    raise RuntimeError(answer.body.decode())
                took.append(time.perf_counter() - begun)
                given.append([k["key_ID"] for k in json.loads(answer.body)["keys"]])

        async def slave(connection: SaeConnection) -> None:
            while given:
                ids = [{"key_ID": k} for k in given.pop()]
                path = f"/api/v1/keys/{self._names[0]}/dec_keys"
                answer = await connection.ask("POST", path, json.dumps({"key_IDs": ids}).encode())
                if answer.code != 200:
                    raise RuntimeError(answer.body.decode())

        before = self._computed()
        await asyncio.gather(*(master(c) for c in own))
        between = self._computed()
        await asyncio.gather(*(slave(c) for c in other))
        after = self._computed()
        return {
            "get": (between[0] - before[0]) / requests,
            "adopt": (between[1] - before[1]) / requests,
            "fetch": (after[1] - between[1]) / requests,
            "alone_s": sorted(took)[len(took) // 2],
        }

    def _computed(self) -> list[float]:
        return [cpu_seconds(kme.pid) for kme in self._kmes]

    def close(self) -> None:
        """Hang up."""
        for connection in (*self._masters, *self._slaves):
            connection.close()
