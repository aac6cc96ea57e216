"""What a KME tells of blocks of key and of keys cut from them, for who traces blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from .key_store import KeyStore
from .provenance import Provenance
from .store_threads import StoreThreads

__all__ = ["KeyTrace"]


class KeyTrace:
    """Told of blocks and keys; does nothing itself.

    Called in the event loop; none of it but :meth:`run` may wait. Times are UTC ns.
    """

    def took(self, block: Provenance, read_ns: int, stored_ns: int) -> None:
        """A block was read from the endpoint, and is now in the store."""

    def agreed(self, block_ids: Sequence[str]) -> None:
        """The other KME has these blocks, too."""

    def issued(self, method: str, key_ids: Sequence[str], begun_ns: int, ended_ns: int) -> None:
        """Keys were given to who asked for them by this method of the API."""

    async def run(self, store: KeyStore, threads: StoreThreads) -> None:
        """Find out from which blocks keys were cut; returns at once if nobody wants to know."""

    def metrics(self) -> Iterator[Metric]:
        """How tracing itself does."""
        return iter(())
