"""What runs beside a relay's daemon, and is handed to it from a layer above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client.core import Metric

from .board import BoardSession

__all__ = ["Companion"]


class Companion(Protocol):
    """Something that watches a board and writes its LIVE registers, and says how it does."""

    @property
    def name(self) -> str:
        """Its key in the daemon's status."""
        ...

    @property
    def pages(self) -> Mapping[str, Callable[[], Mapping[str, Any]]]:
        """Further paths of the health server, each with what makes its JSON."""
        ...

    def start(self, session: BoardSession) -> None:
        """Begin, in threads of its own; the board is acquiring."""
        ...

    def stop(self) -> None:
        """End, before the board is told to stop; may be called without a start."""
        ...

    def raw_tags(self, payload: bytes) -> None:
        """Take the payload of a TAGS frame; called in the tag spool's thread."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Plain types; any thread."""
        ...

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status as :meth:`status` gives it."""
        ...
