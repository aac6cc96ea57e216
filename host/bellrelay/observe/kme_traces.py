"""A KME's part in the traces of blocks: taken over, known at the other KME, given to applications.

From which blocks a key was cut stands in the store. It is looked up after the answer has left, for
so many answers a second and no more: what applications ask is not held up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client.core import Metric

from bellrelay.keys.key_store import KeyStore
from bellrelay.keys.key_trace import KeyTrace
from bellrelay.keys.provenance import Provenance
from bellrelay.keys.store_threads import StoreThreads

from .block_spans import BlockName
from .block_tracer import BlockTracer

__all__ = ["KmeTraces"]

_MOST_WAITING = 256
_LOOKUPS_PER_S = 50
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Answer:
    method: str
    key_ids: Sequence[str]
    begun_ns: int
    ended_ns: int


def _name(block: Provenance) -> BlockName:
    return BlockName(block.relay, block.acquisition, block.block)


class KmeTraces(KeyTrace):
    """See :class:`bellrelay.keys.key_trace.KeyTrace`."""

    def __init__(self, tracer: BlockTracer) -> None:
        self._tracer = tracer
        self._stored_ns: dict[str, tuple[BlockName, int]] = {}
        self._answers: deque[_Answer] = deque()
        self._more = asyncio.Event()

    def took(self, block: Provenance, read_ns: int, stored_ns: int) -> None:
        name = _name(block)
        self._tracer.span(name, "hand-over", block.made_ns, read_ns, {})
        facts = {"length_bits": block.length_bits}
        self._tracer.span(name, "intake", read_ns, stored_ns, facts)
        while len(self._stored_ns) >= _MOST_WAITING:
            # The other KME has not been there for long: what waits longest has no span.
            del self._stored_ns[next(iter(self._stored_ns))]
        self._stored_ns[block.block_id] = (name, stored_ns)

    def agreed(self, block_ids: Sequence[str]) -> None:
        now = time.time_ns()
        for block_id in block_ids:
            found = self._stored_ns.pop(block_id, None)
            if found is not None:
                self._tracer.span(found[0], "agree", found[1], now, {})

    def issued(self, method: str, key_ids: Sequence[str], begun_ns: int, ended_ns: int) -> None:
        if len(self._answers) >= _MOST_WAITING:
            self._tracer.queue.drop(1)
            return
        self._answers.append(_Answer(method, key_ids, begun_ns, ended_ns))
        self._more.set()

    async def run(self, store: KeyStore, threads: StoreThreads) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._answers:
                answer = self._answers.popleft()
                try:
                    blocks = await threads.read(store.blocks_of, answer.key_ids)
                except Exception as error:
                    _log.warning("key not traced", error=type(error).__name__)
                    self._tracer.queue.drop(1)
                    blocks = []
                for block, units in blocks:
                    facts = {
                        "request": answer.method,
                        "keys": len(answer.key_ids),
                        "units": units,
                    }
                    self._tracer.span(
                        _name(block), "issue", answer.begun_ns, answer.ended_ns, facts
                    )
                await asyncio.sleep(1.0 / _LOOKUPS_PER_S)

    def metrics(self) -> Iterator[Metric]:
        return self._tracer.metrics()
