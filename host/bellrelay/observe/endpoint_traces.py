"""An endpoint's part in the traces of blocks: its steps from the first slot to the stored key."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric

from bellrelay.endpoint.block import BlockId, BlockState, Cause
from bellrelay.endpoint.block_store import BlockRow
from bellrelay.endpoint.block_trace import BlockTrace

from .block_spans import ENDPOINT_STEPS, BlockName
from .block_tracer import BlockTracer

__all__ = ["EndpointTraces"]

_MOST_BLOCKS = 4096
_BEGINS = {begin: name for name, (begin, _end) in ENDPOINT_STEPS.items()}
_NO_FAULT = frozenset({Cause.UNLIT})


class EndpointTraces(BlockTrace):
    """See :class:`bellrelay.endpoint.block_trace.BlockTrace`.

    Parameters
    ----------
    role
        ``alice`` or ``bob``; she alone emits the span of the whole block.
    relays
        Relay IDs by the number that blocks have.
    """

    def __init__(self, tracer: BlockTracer, role: str, relays: Sequence[str]) -> None:
        self._tracer = tracer
        self._role = role
        self._relays = tuple(relays)
        self._marks: dict[BlockId, tuple[str, int]] = {}

    def reached(self, block: BlockId, step: str, facts: Mapping[str, Any]) -> None:
        now = time.time_ns()
        before = self._marks.pop(block, None)
        while len(self._marks) >= _MOST_BLOCKS:
            # Blocks that never end here: the process that ends them writes another's trace.
            del self._marks[next(iter(self._marks))]
        self._marks[block] = (step, now)
        if before is not None and step != "begun":
            self._step(block, before, step, now, facts)

    def _step(
        self,
        block: BlockId,
        before: tuple[str, int],
        step: str,
        now: int,
        facts: Mapping[str, Any],
        fault: str | None = None,
    ) -> None:
        name = _BEGINS.get(before[0])
        if name is None or (fault is None and ENDPOINT_STEPS[name][1] != step):
            return
        said = {**facts, "role": self._role}
        self._tracer.span(self._name(block), name, before[1], now, said, fault)

    def ended(self, row: BlockRow) -> None:
        now = time.time_ns()
        before = self._marks.pop(row.block, None)
        stored = row.state is BlockState.STORED
        quiet = stored or row.cause in _NO_FAULT
        fault = None if quiet else row.cause
        if before is not None:
            self._step(row.block, before, row.state.word, now, row.record, fault)
        if self._role == "alice":
            facts = {**row.record, "state": row.state.word, "cause": row.cause}
            begun_ns = row.begun_ns or now
            self._tracer.span(self._name(row.block), "block", begun_ns, now, facts, fault)

    def _name(self, block: BlockId) -> BlockName:
        return BlockName(self._relays[block.relay], block.acquisition, block.index)

    def metrics(self) -> Iterator[Metric]:
        return self._tracer.metrics()
