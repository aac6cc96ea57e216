"""The store from an event loop: what writes, in one thread; what reads, beside it.

The database has one writer at a time anyway; in one thread, who came first is served first, and
nobody polls for a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["StoreThreads"]

T = TypeVar("T")


class StoreThreads:
    """Threads of one store."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")

    async def write(self, method: Callable[..., T], *arguments: Any) -> T:
        """Call what changes the store. It ends even if who waits is cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._writer, method, *arguments))

    async def read(self, method: Callable[..., T], *arguments: Any) -> T:
        """Call what only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, method, *arguments)

    def close(self) -> None:
        """Wait for what is at work."""
        self._writer.shutdown()
        self._readers.shutdown()
