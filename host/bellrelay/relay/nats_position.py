"""How far a relay's log has got to a broker: what it had acknowledged, on disk.

It need not be the last word: what is sent again is passed over by consumers. It must not be lost
either, or the whole log would be sent again.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from pathlib import Path

__all__ = ["BrokerPosition"]

_KEPT = 256


class BrokerPosition:
    """Messages that a broker acknowledged: where in its stream, and up to which record.

    Attributes
    ----------
    stream_sequence : int
        Of the last message of the stream, as far as it is known.
    """

    def __init__(self, path: Path) -> None:
        self.stream_sequence = 0
        self._path = path
        self._acknowledged: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            pairs = json.loads(path.read_text())["acknowledged"]
            self._acknowledged.extend((int(at), int(end)) for at, end in pairs)
        if self._acknowledged:
            self.stream_sequence = self._acknowledged[-1][0]

    @property
    def end(self) -> int | None:
        """Sequence after the last record that was acknowledged; None: of none it is known."""
        return self._acknowledged[-1][1] if self._acknowledged else None

    def acknowledged(self, stream_sequence: int, end: int) -> None:
        """A message stands in the stream, and records up to (without) ``end`` with it."""
        self.stream_sequence = stream_sequence
        self._acknowledged.append((stream_sequence, end))

    def go_back(self, stream_sequence: int) -> bool:
        """The stream ends there, earlier than was known; whether it is known what it ends with."""
        self.stream_sequence = stream_sequence
        while self._acknowledged and self._acknowledged[-1][0] > stream_sequence:
            self._acknowledged.pop()
        known = bool(self._acknowledged) and self._acknowledged[-1][0] == stream_sequence
        if not known:
            self._acknowledged.clear()
        return known

    def forget(self) -> None:
        """The log is another one."""
        self._acknowledged.clear()

    def save(self) -> None:
        """Write it down. OSError: the disk does not take it."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"acknowledged": list(self._acknowledged)}))
        fresh.rename(self._path)
