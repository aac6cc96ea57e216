"""From the start of processes to the first key, cold and warm: what real processes make of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bellrelay.cli.kme_pair import SITES, contexts, kme_pair_files, sae, start_kme_pair
from bellrelay.cli.network_processes_start import PairOfProcesses, ProcessNetwork
from bellrelay.cli.network_processes_watch import blocks_of
from bellrelay.cli.run_processes import RunFailed
from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.cli.text_table import print_table
from bellrelay.endpoint.block import BlockState

__all__ = ["cold_start", "print_cold_start"]

_CACHE = "NUMBA_CACHE_DIR"
_PATIENCE_S = 300.0
_BLOCKS = 3


@dataclass(frozen=True)
class EndpointStart:
    """compiled : whether loops were on disk. warm_up : of the configuration.

    running_s : from the start of both to their connection. key_s : to the first block with key.
    """

    compiled: bool
    warm_up: bool
    running_s: float
    key_s: float


@dataclass(frozen=True)
class KmeStart:
    """blocks : that both stores held before. key_s : from the start of both to a key."""

    blocks: int
    running_s: float
    key_s: float


def cold_start(compile_too: bool) -> dict[str, Any]:
    """The object that `network cold-start --json` prints.

    A relay of simulated light runs; pairs of endpoints are started one after the other, with loops
    compiled on disk and (if ``compile_too``) with an empty cache, each with and without warming up.
    Then two KMEs whose stores hold key already.

    Raises
    ------
    RunFailed
        A process ended, or there is no key.
    """
    cases = [(True, False), (True, True)]
    if compile_too:
        cases += [(False, False), (False, True)]
    with tempfile.TemporaryDirectory(prefix="bellrelay-cold-") as name:
        folder = Path(name)
        made = folder / "made"
        made.mkdir()
        with contextlib.closing(ProcessNetwork(made, len(cases) + 1, 1)) as network:
            # The first one reads files that others then find in memory: it is not told.
            _endpoints(network, compiled=True, warm=True, cache=None)
            endpoints = [
                _endpoints(network, compiled, warm, None if compiled else folder / f"cache-{n}")
                for n, (compiled, warm) in enumerate(cases)
            ]
    # Here, not where memory may pose as a disk.
    with tempfile.TemporaryDirectory(dir=".", prefix=".bellrelay-cold-") as name:
        kmes = _kmes(Path(name).resolve(), 1)
    return {
        "endpoints": [asdict(e) for e in endpoints],
        "kme": asdict(kmes),
    }


def _endpoints(
    network: ProcessNetwork, compiled: bool, warm: bool, cache: Path | None
) -> EndpointStart:
    """Of a relay of its own, that has announced some blocks already: light is not waited for."""
    relay = network.add_relay(1)
    while relay.simulated_s < _BLOCKS * relay.block_s:
        network.watch()
        time.sleep(0.05)
    with _environment(_CACHE, cache):
        pair = network.add_pair(relay, 0, {"warm_up": warm}, kmes=False)
    begun, running = pair.times
    key = _first_key_at(network, pair)
    network.remove(relay)
    return EndpointStart(compiled, warm, running - begun, key - begun)


def _first_key_at(network: ProcessNetwork, pair: PairOfProcesses) -> float:
    """Wait for it; by the monotonic clock."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        network.watch()
        for row in blocks_of(pair, "alice"):
            if row.state is BlockState.STORED:
                return time.monotonic() - (time.time_ns() - row.changed_ns) / 1e9
        time.sleep(0.05)
    raise RunFailed(f"no key after {_PATIENCE_S:.0f} s")


@contextlib.contextmanager
def _environment(name: str, value: Path | None) -> Iterator[None]:
    """Of processes that are started within. None: as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def _kmes(folder: Path, blocks: int) -> KmeStart:
    configs = kme_pair_files(folder, blocks)
    with ExitStack() as stack:
        begun = time.monotonic()
        started = start_kme_pair(stack, configs)
        running = time.monotonic()
        asyncio.run(asyncio.wait_for(_first_key(folder, started[0].port), _PATIENCE_S))
        return KmeStart(blocks, running - begun, time.monotonic() - begun)


async def _first_key(folder: Path, port: int) -> None:
    """Ask until there is one: KMEs must first agree on what both have."""
    connection = SaeConnection(port, SITES[0], contexts(folder)[sae(SITES[0], 0)])
    while True:
        answer = await connection.ask("GET", f"/api/v1/keys/{sae(SITES[1], 0)}/enc_keys")
        if answer.code == 200 and json.loads(answer.body)["keys"]:
            connection.close()
            return
        await asyncio.sleep(0.02)


def print_cold_start(told: dict[str, Any]) -> None:
    """For a person."""
    rows = [
        [
            "endpoints, loops " + ("on disk" if e["compiled"] else "not compiled yet"),
            "warmed up" if e["warm_up"] else "not warmed up",
            f"{e['running_s']:.1f}",
            f"{e['key_s']:.1f}",
        ]
        for e in told["endpoints"]
    ]
    kme = told["kme"]
    rows.append(["KMEs, key in store", "", f"{kme['running_s']:.1f}", f"{kme['key_s']:.1f}"])
    columns = ["started", "", "running, s", "first key, s"]
    print_table("from the start of processes to the first key", columns, rows, text=("",))
