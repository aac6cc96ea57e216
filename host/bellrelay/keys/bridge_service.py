"""The bridges of a running KME: they take key as it comes in, and push it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from .audit_record import Audit
from .bridge_backlog import BridgeBacklog, BridgeCounts
from .bridge_intake import take_owed
from .bridge_push import push_round
from .bridge_settings import BridgeSettings
from .bridge_targets import KeyTarget, open_target
from .cutting import units_needed
from .database import Database
from .key_requests import ReserveRequest
from .key_store import KeyStore
from .kme_config import KmeConfig
from .open_store import open_keyring, store_url
from .pairs import Pair
from .store_deliver import Handover, discard_keys

__all__ = ["BridgeService", "open_backlog"]

# Asks the other KME to adopt, and hands the keys over to the backlog as it delivers them.
Reserve = Callable[[ReserveRequest, Handover], Awaitable[object]]
_LOOK_S = 10.0
_log = structlog.get_logger(__name__)


def open_backlog(config: KmeConfig, audit: Audit) -> BridgeBacklog:
    """The backlogs of a KME's bridges. StoreError, SealerError, OSError: they cannot be used."""
    return BridgeBacklog(Database(store_url(config), audit), open_keyring(config))


class BridgeService:
    """All bridges of one KME.

    Parameters
    ----------
    config, store
        Of the KME.
    audit
        Its log.
    """

    def __init__(self, config: KmeConfig, store: KeyStore, audit: Audit) -> None:
        self._bridges = config.bridges
        self._store = store
        self._units = {b.name: units_needed(b.key_size, config.unit_bits) for b in config.bridges}
        self._keep_ns = int(config.keys.keep_s * 1e9)
        self._faults: dict[str, str] = {}
        self._counts: dict[str, BridgeCounts] = {}
        self._backlog = open_backlog(config, audit) if config.bridges else None

    def close(self) -> None:
        """Give the connections back."""
        if self._backlog is not None:
            self._backlog.close()

    async def run(self, reserve: Reserve, peer_there: Callable[[], bool]) -> None:
        """Take and push for ever; ends by cancellation.

        reserve : see :data:`Reserve`. peer_there : whether the other KME can be asked now; while
        not, nothing is taken, as a key could get to one manager alone.
        """
        if self._backlog is None:
            await asyncio.Event().wait()
            return
        async with asyncio.TaskGroup() as group:
            for bridge in self._bridges:
                group.create_task(self._run_one(bridge, self._backlog, reserve, peer_there))

    async def _run_one(
        self,
        bridge: BridgeSettings,
        backlog: BridgeBacklog,
        reserve: Reserve,
        peer_there: Callable[[], bool],
    ) -> None:
        target: KeyTarget | None = None
        look = 0.0
        there_since: float | None = None
        while True:
            try:
                if target is None and bridge.push == "kme":
                    target = await asyncio.to_thread(open_target, bridge)
                if not peer_there():
                    there_since = None
                elif there_since is None:
                    there_since = time.monotonic()
                if there_since is not None:
                    # Whatever its masters did not get, the other KME withdraws as it comes back.
                    settled = time.monotonic() - there_since >= bridge.settle_s
                    await self._take(bridge, backlog, reserve, settled)
                if target is not None and not await asyncio.to_thread(backlog.idle, bridge.name):
                    await asyncio.to_thread(push_round, bridge, backlog, target)
                if time.monotonic() >= look:
                    look = time.monotonic() + _LOOK_S
                    await asyncio.to_thread(backlog.purge, time.time_ns() - self._keep_ns)
                    while await asyncio.to_thread(backlog.reseal):
                        pass
                    counts = await asyncio.to_thread(backlog.counts, bridge.name)
                    self._counts[bridge.name] = counts
                self._fault(bridge.name, "")
            except Exception as error:
                # Of whatever kind: a bridge that ends would leave its keys where they are, unseen.
                self._fault(bridge.name, f"{type(error).__name__}: {error}")
            await asyncio.sleep(bridge.poll_s)

    def _fault(self, name: str, fault: str) -> None:
        if fault and fault != self._faults.get(name):
            _log.error("bridge stands still", bridge=name, why=fault)
        self._faults[name] = fault

    async def _take(
        self, bridge: BridgeSettings, backlog: BridgeBacklog, reserve: Reserve, settled: bool
    ) -> None:
        waiting = await asyncio.to_thread(backlog.n_waiting, bridge.name)
        room = min(bridge.batch, bridge.max_waiting - waiting)
        if room > 0 and settled:
            room -= await asyncio.to_thread(take_owed, bridge, self._store, backlog, room)
        for pair in self._pairs_of(bridge):
            free = await asyncio.to_thread(self._store.free_units, pair.name)
            count = min(room, free // self._units[bridge.name])
            if count <= 0:
                continue
            slave = pair.sae(1 - self._store.side)
            request = ReserveRequest(pair.name, bridge.sae, (slave,), count, bridge.key_size)
            outcome = await reserve(request, partial(backlog.take, bridge.name))
            if isinstance(outcome, list):
                discard_keys(outcome)
                room -= count

    def _pairs_of(self, bridge: BridgeSettings) -> list[Pair]:
        side = self._store.side
        return [pair for pair in self._store.pairs if pair.sae(side) == bridge.sae]

    def status(self) -> dict[str, Any]:
        """Plain numbers for /health and metrics, by bridge, as they were at the last look."""
        out: dict[str, Any] = {}
        for bridge in self._bridges:
            counts = self._counts.get(bridge.name, BridgeCounts())
            out[bridge.name] = {
                "waiting": counts.waiting,
                "held": counts.held,
                "pushed": counts.pushed,
                "recalled": counts.recalled,
                "fault": self._faults.get(bridge.name) or counts.fault,
            }
        return out
