"""The thread that writes the announcement log: appends what has gathered, then syncs it at once.

While one sync waits for the disk, the next batch gathers, so that the batches grow with the load
and nobody sets their size.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .announcement_log import AnnouncementLog
from .block_trace import RelayTrace

__all__ = ["LogWriter"]

_Item = tuple[int, NDArray[np.uint64] | None, NDArray[np.uint8] | None, Mapping[str, Any] | None]


class LogWriter:
    """Owns the log's writing side.

    Parameters
    ----------
    log
        Open; the writer's thread alone appends to it from now on.
    on_durable
        Called in the writer's thread after each sync, with the durable sequence.
    on_failure
        Called once, in the writer's thread, when the disk fails; nothing is written after that.
    trace
        Told what is written.
    """

    def __init__(
        self,
        log: AnnouncementLog,
        on_durable: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        trace: RelayTrace | None = None,
    ) -> None:
        self.log = log
        self.failure: BaseException | None = None
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._trace = trace or RelayTrace()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Batches and events that wait to be written."""
        return self._queue.qsize()

    def announced(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> None:
        """Queue announcements."""
        self._queue.put((acquisition, slot, outcome, None))

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        """Queue an event."""
        self._queue.put((acquisition, None, None, values))

    def close(self) -> None:
        """Write what is queued, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._batch():
                pass
        except BaseException as error:
            self.failure = error
            self._on_failure(error)

    def _batch(self) -> bool:
        item = self._queue.get()
        while item is not None:
            self._append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        durable = self.log.sync()
        self._trace.durable()
        self._on_durable(durable)
        # A disk that syncs in no time would be asked for each record alone.
        if item is not None:
            time.sleep(0.002)
        return item is not None

    def _append(self, item: _Item) -> None:
        acquisition, slot, outcome, values = item
        if slot is not None and outcome is not None:
            self.log.append_announcements(acquisition, slot, outcome)
            self._trace.announced(acquisition, slot)
        elif values is not None:
            self.log.append_event(acquisition, values)
            self._trace.event(acquisition, values)
