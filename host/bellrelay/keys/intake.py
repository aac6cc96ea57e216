"""Finished keys come from the endpoint, and the other KME is asked which of them it has.

A key is deleted at the endpoint only after the store has it. Its units are given out only after the
other KME has said that it has the block, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog

from .key_store import KeyStore
from .key_trace import KeyTrace
from .kme_link import PeerAway, PeerRefused
from .provenance import FinishedKey
from .store_threads import StoreThreads

__all__ = ["BlockAgreement", "FinishedKeys", "Intake"]

_ASK_S = 20.0
_BATCH = 1000
_log = structlog.get_logger(__name__)


class FinishedKeys(Protocol):
    """Where finished keys come from; called in a thread."""

    def finished(self) -> Sequence[FinishedKey]:
        """Those that are ready. OSError: not to be had now."""

    def forget(self, key_id: str) -> None:
        """The store has it: wipe it here. OSError."""


class Intake:
    """Takes keys over.

    Attributes
    ----------
    taken : int
        Blocks since the start.
    fault : str
        Why the endpoint's keys cannot be had; empty if they can.
    """

    def __init__(
        self,
        store: KeyStore,
        threads: StoreThreads,
        source: FinishedKeys,
        poll_s: float,
        came: Callable[[], None],
        trace: KeyTrace | None = None,
    ) -> None:
        self.taken = 0
        self.fault = ""
        self._store = store
        self._threads = threads
        self._source = source
        self._poll_s = poll_s
        self._came = came
        self._trace = trace or KeyTrace()

    async def run(self) -> None:
        """Take over for ever; ends by cancellation."""
        while True:
            try:
                if await self._take():
                    self._came()
                self.fault = ""
            except Exception as error:
                if not self.fault:
                    _log.error("no keys from the endpoint", error=type(error).__name__)
                self.fault = type(error).__name__
            await asyncio.sleep(self._poll_s)

    async def _take(self) -> int:
        """How many blocks were new."""
        new = 0
        for key in await asyncio.to_thread(self._source.finished):
            read_ns = time.time_ns()
            if await self._threads.write(self._store.add_block, key):
                new += 1
                self.taken += 1
                self._trace.took(key.provenance, read_ns, time.time_ns())
            await asyncio.to_thread(self._source.forget, key.key_id)
        return new


class BlockAgreement:
    """Finds out which blocks the other KME has."""

    def __init__(
        self,
        store: KeyStore,
        threads: StoreThreads,
        ask: Callable[[str, Any, float], Awaitable[Any]],
        poll_s: float,
        agreed: Callable[[], None],
        trace: KeyTrace | None = None,
    ) -> None:
        self._store = store
        self._threads = threads
        self._ask = ask
        self._poll_s = poll_s
        self._agreed = agreed
        self._trace = trace or KeyTrace()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There are new blocks, or a new connection."""
        self._wake.set()

    async def run(self) -> None:
        """Ask for ever; ends by cancellation."""
        while True:
            try:
                await self._round()
            except (PeerAway, PeerRefused):
                pass
            except Exception as error:
                _log.error("blocks not compared", error=type(error).__name__)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _round(self) -> None:
        asked = await self._threads.read(self._store.blocks_not_at_peer, _BATCH)
        if not asked:
            return
        said = await self._ask("blocks", asked, _ASK_S)
        if not isinstance(said, list):
            raise PeerRefused("not a list of blocks")
        there = [block for block in asked if block in set(said)]
        if not there:
            return
        new: int = await self._threads.write(self._store.peer_has, there)
        if new:
            self._trace.agreed(there)
            self._agreed()
