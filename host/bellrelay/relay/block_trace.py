"""What a relay tells of its announcements on their way, for who traces blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import Metric

from bellrelay.wire.messages import Announced, Event

__all__ = ["RelayTrace", "ServedTrace"]


class ServedTrace:
    """Told what one consumer gets; does nothing itself. In the event loop; must not wait."""

    def served(self, record: Announced | Event) -> None:
        """A record is on its way to the consumer."""


class RelayTrace:
    """Told of announcements as they come and go; does nothing itself.

    ``announced``, ``event`` and ``durable`` are called in the log writer's thread, the others in
    the event loop. None of them may wait.
    """

    def announced(self, acquisition: int, slot: NDArray[np.uint64]) -> None:
        """Announcements were appended to the log."""

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        """An event was appended to the log."""

    def durable(self) -> None:
        """What was appended up to now survives the loss of power."""

    def consumer(self, name: str) -> ServedTrace:
        """Of a consumer that has just subscribed."""
        return ServedTrace()

    def metrics(self) -> Iterator[Metric]:
        """How tracing itself does."""
        return iter(())
