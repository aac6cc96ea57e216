"""The key pool's account with the blocks: what each costs, and what each gives back."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from .block import BlockAborted, BlockId, Cause
from .block_store import BlockStore
from .exchange_tags import TAGS_PER_BLOCK
from .key_pool import TAG_KEY_BYTES, KeyPool, KeyPoolDry

__all__ = ["PoolAccount"]

_LONGEST_WAIT_S = 600.0
_BLOCK_BYTES = TAGS_PER_BLOCK * TAG_KEY_BYTES
_log = structlog.get_logger(__name__)


class PoolAccount:
    """Pays for blocks, and puts into the pool what belongs there, whatever dies in between.

    Parameters
    ----------
    pool
        Ours.
    store
        Where produced key lies until the pool has it.
    """

    def __init__(self, pool: KeyPool, store: BlockStore) -> None:
        self._pool = pool
        self._store = store
        self._in_work: set[BlockId] = set()
        self._asking = asyncio.Lock()
        self._fewer = asyncio.Event()

    async def afford(self, block: BlockId) -> None:
        """Wait until the tags of a block can be paid for, beside those of all blocks in work.

        Blocks in work give key back as they end; what the reserve allows is for one at a time.

        Raises
        ------
        BlockAborted
            The pool is dry.
        """
        async with self._asking:
            while self._in_work:
                self._fewer.clear()
                if await asyncio.to_thread(self._enough_for_all):
                    break
                await self._fewer.wait()
            await self._afford_one()
            self._in_work.add(block)

    def ended(self, block: BlockId) -> None:
        """A block draws no more tags."""
        self._in_work.discard(block)
        self._fewer.set()

    def _enough_for_all(self) -> bool:
        try:
            return self._pool.wait_s((len(self._in_work) + 1) * _BLOCK_BYTES) == 0.0
        except KeyPoolDry:
            return False

    async def _afford_one(self) -> None:
        try:
            wait = await asyncio.to_thread(self._pool.wait_s, _BLOCK_BYTES)
        except KeyPoolDry as error:
            raise BlockAborted(Cause.POOL_DRY, str(error)) from None
        if wait > _LONGEST_WAIT_S:
            raise BlockAborted(Cause.POOL_DRY, f"the reserve allows no block for {wait:.0f} s")
        await asyncio.sleep(wait)

    def stored(self) -> None:
        """Put into the pool what new keys have for it. The peer may use it; we must not yet."""
        for _, key_id, part in self._store.pool_parts():
            self._pool.refill(key_id, part, shared=False)

    def shared(self, block: BlockId | None) -> None:
        """The peer has been told of this block's key (of every one): we may use what it gave."""
        for of, key_id, _ in self._store.pool_parts():
            if block is None or of == block:
                self._pool.share(key_id)
                self._store.forget_pool_part(key_id)

    def rotate(self, max_age_s: float) -> None:
        """Wipe what has lain in the pool for so long; see :meth:`KeyPool.rotate`.

        Raises
        ------
        KeyPoolError, OSError
        """
        wiped = self._pool.rotate(max_age_s)
        if wiped:
            _log.info("old key wiped", bits=8 * wiped)

    def status(self) -> dict[str, Any]:
        """Bits left, for people."""
        status = self._pool.status()
        return {
            "bits": 8 * status.send_left,
            "peer_bits": 8 * status.receive_left,
            "in_reserve": status.in_reserve,
            "refills": status.refills,
        }
