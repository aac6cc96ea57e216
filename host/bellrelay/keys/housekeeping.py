"""What a running KME does by the clock: counts its keys, and lets the store's lifecycle go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from .key_requests import KeyCounts
from .key_store import KeyStore
from .lifecycle import KekDue, Lifecycle, LifecyclePolicy, LifecycleStatus, LowWater
from .store_threads import StoreThreads

__all__ = ["Housekeeping"]

_COUNT_S = 5.0
_ROUND_S = 15.0
_log = structlog.get_logger(__name__)


class Housekeeping:
    """Of one store.

    Attributes
    ----------
    counts : mapping
        Units by pair and side, as they were last counted.
    fault : str
        Why the store cannot be used; empty if it can.
    """

    def __init__(self, store: KeyStore, threads: StoreThreads, policy: LifecyclePolicy) -> None:
        self.counts: Mapping[tuple[str, int], KeyCounts] = {}
        self.fault = ""
        self._store = store
        self._threads = threads
        self._lifecycle = Lifecycle(store, policy, _alarm)

    @property
    def lifecycle(self) -> LifecycleStatus:
        """After its last round."""
        return self._lifecycle.status

    async def run(self) -> None:
        """Keep house for ever; ends by cancellation."""
        due = 0.0
        while True:
            try:
                await self.count()
                if time.monotonic() >= due:
                    due = time.monotonic() + _ROUND_S
                    await asyncio.to_thread(self._lifecycle.round)
                self.fault = ""
            except Exception as error:
                if not self.fault:
                    _log.error("store cannot be used", error=type(error).__name__)
                self.fault = type(error).__name__
            await asyncio.sleep(_COUNT_S)

    async def count(self) -> None:
        """Count units. What the store raises."""
        self.counts = await self._threads.read(self._store.counts)


def _alarm(alarm: LowWater | KekDue) -> None:
    if isinstance(alarm, KekDue):
        _log.warning("another KEK is due", kek=alarm.kek_id, seals=alarm.seals)
    elif alarm.raised:
        _log.warning("keys run short", pair=alarm.pair, free=alarm.free)
    else:
        _log.info("keys no longer short", pair=alarm.pair, free=alarm.free)
