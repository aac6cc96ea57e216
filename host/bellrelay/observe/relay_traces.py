"""A relay's part in the traces of blocks: announcements written, and served to each consumer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import Metric

from bellrelay.relay.block_trace import RelayTrace, ServedTrace
from bellrelay.wire.messages import Announced, Event

from .block_spans import BlockName
from .block_tracer import BlockTracer

__all__ = ["RelayTraces"]

_Passed = Callable[[int, int, int, int], None]


class _Passage:
    """A stream of announcements that passes blocks, in their order.

    passed : called with acquisition, block, UTC ns when it began here, and its announcements.
    """

    def __init__(self, block_slots: int, passed: _Passed) -> None:
        self._slots = block_slots
        self._passed = passed
        self._acquisition = -1
        self._block = -1
        self._begun_ns = 0
        self._number = 0
        self._end = 0

    def announced(self, acquisition: int, slot: NDArray[np.uint64]) -> None:
        """Announcements of some slots, in their order."""
        if not slot.size:
            return
        if acquisition == self._acquisition and int(slot[-1]) < self._end:
            self._number += slot.size
            return
        blocks, numbers = np.unique(slot // np.uint64(self._slots), return_counts=True)
        for block, number in zip(blocks.tolist(), numbers.tolist(), strict=True):
            self._stands(acquisition, block)
            self._number += number

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        """Word of how far the acquisition is, or that it is over."""
        if values.get("kind") == "heartbeat":
            cut = values.get("cut_slot")
            if isinstance(cut, int) and cut >= 0:
                self._stands(acquisition, cut // self._slots)
        elif values.get("kind") == "start":
            self._stands(acquisition, 0)
        elif values.get("kind") == "stop" and acquisition == self._acquisition:
            self._finish()

    def _stands(self, acquisition: int, block: int) -> None:
        if (acquisition, block) <= (self._acquisition, self._block):
            return
        self._finish()
        self._acquisition, self._block = acquisition, block
        self._begun_ns, self._number = time.time_ns(), 0
        self._end = (block + 1) * self._slots

    def _finish(self) -> None:
        # Once only; what was passed over without a word has no span.
        if self._end:
            self._passed(self._acquisition, self._block, self._begun_ns, self._number)
        self._end = 0


class _Served(ServedTrace):
    def __init__(self, block_slots: int, passed: _Passed) -> None:
        self._passage = _Passage(block_slots, passed)

    def served(self, record: Announced | Event) -> None:
        if isinstance(record, Announced):
            self._passage.announced(record.acquisition, record.slot)
        else:
            self._passage.event(record.acquisition, {"kind": record.kind, **record.values})


class RelayTraces(RelayTrace):
    """See :class:`bellrelay.relay.block_trace.RelayTrace`.

    Parameters
    ----------
    block_slots
        Slots of a block, as the endpoints have agreed on.
    """

    def __init__(self, tracer: BlockTracer, relay_id: str, block_slots: int) -> None:
        self._tracer = tracer
        self._relay_id = relay_id
        self._block_slots = block_slots
        self._to_sync: list[tuple[BlockName, int, int]] = []
        self._written = _Passage(block_slots, self._complete)

    def announced(self, acquisition: int, slot: NDArray[np.uint64]) -> None:
        self._written.announced(acquisition, slot)

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        self._written.event(acquisition, values)

    def _complete(self, acquisition: int, block: int, begun_ns: int, number: int) -> None:
        self._to_sync.append((self._name(acquisition, block), begun_ns, number))

    def durable(self) -> None:
        if not self._to_sync:
            return
        now = time.time_ns()
        for block, begun_ns, number in self._to_sync:
            self._tracer.span(block, "write", begun_ns, now, {"announcements": number})
        self._to_sync.clear()

    def consumer(self, name: str) -> ServedTrace:
        def passed(acquisition: int, block: int, begun_ns: int, number: int) -> None:
            self._tracer.span(
                self._name(acquisition, block),
                "serve",
                begun_ns,
                time.time_ns(),
                {"consumer": name, "announcements": number},
            )

        return _Served(self._block_slots, passed)

    def _name(self, acquisition: int, block: int) -> BlockName:
        return BlockName(self._relay_id, acquisition, block)

    def metrics(self) -> Iterator[Metric]:
        return self._tracer.metrics()
