"""What the exchanges about one block have at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar

from bellrelay.distill.reconcile.engine import Role

from .agreement import Agreement
from .block import BlockId, BlockState
from .block_parameters import BlockParameters
from .block_store import BlockStore
from .block_talk import BlockTalk
from .block_trace import BlockTrace
from .exchange_tags import TagKeys
from .source_log import SourceLog

__all__ = ["BlockRun"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass
class BlockRun:
    """One block on its way, on one side.

    agreement : of both endpoints; of this block once the peer has said by which parameters it sent.
    parameters : by which our sender sent. known : a set of parameters that both hold, by its
    digest. deviation : that intensities of our sender may have had; what is declared counts if
    that is more. record : what is told of it: numbers, no secret. checkpoint : called with a name
    at every boundary where this side may die; for tests. trace : told how far it has come.
    cluster : where heavy work is carried out, if not here.
    """

    block: BlockId
    role: Role
    agreement: Agreement
    talk: BlockTalk
    store: BlockStore
    executor: Executor
    source: SourceLog
    tag_keys: TagKeys
    parameters: BlockParameters
    known: Callable[[bytes], BlockParameters | None]
    deviation: float
    checkpoint: Callable[[str], None]
    trace: BlockTrace
    record: dict[str, Any] = field(default_factory=dict)
    cluster: Executor | None = None

    @property
    def is_alice(self) -> bool:
        """Alice speaks first, Bob corrects."""
        return self.role is Role.ALICE

    @property
    def first(self) -> int:
        """First slot."""
        return self.block.first(self.agreement.block_slots)

    @property
    def end(self) -> int:
        """Slot after the last."""
        return self.block.end(self.agreement.block_slots)

    async def compute(
        self, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T:
        """Work of this process, beside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, lambda: function(*arguments, **options))

    async def compute_anywhere(
        self, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T:
        """Heavy work, here or on the endpoint's cluster.

        It may be carried out by another process, and twice: what it returns is all that comes of
        it, and depends on the arguments alone.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.cluster or self.executor, partial(function, *arguments, **options)
        )

    async def write(self, function: Callable[_P, _T], *arguments: _P.args, **o: _P.kwargs) -> _T:
        """A step of the store, on disk when this returns; the loop does not wait for the disk."""
        return await asyncio.to_thread(function, *arguments, **o)

    async def advance(self, state: BlockState, facts: Mapping[str, Any] | None = None) -> None:
        """Put the next state on disk, with what became known with it."""
        self.record.update(facts or {})
        self.checkpoint(f"before {state.word}")
        await self.write(self.store.advance, self.block, state, facts)
        self.checkpoint(f"after {state.word}")
        self.trace.reached(self.block, state.word, self.record)
