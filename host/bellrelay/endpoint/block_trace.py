"""What an endpoint tells of its blocks on their way, for who traces them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

from .block import BlockId
from .block_store import BlockRow

__all__ = ["BlockTrace"]


class BlockTrace:
    """Told how far every block has come; does nothing itself.

    Called in the event loop; none of it may wait.
    """

    def reached(self, block: BlockId, step: str, facts: Mapping[str, Any]) -> None:
        """A block has come so far.

        step : ``begun``, ``complete`` (its list is), ``opened`` (it is in work), ``admitted``
        (source and pool allow it), ``committed`` (both have the same list), or a state's word.
        facts : what is known of it by then, without any secret.
        """

    def ended(self, row: BlockRow) -> None:
        """A block is stored or aborted, as the store has it."""

    def metrics(self) -> Iterator[Metric]:
        """How tracing itself does."""
        return iter(())
