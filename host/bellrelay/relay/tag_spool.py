"""Raw tags to files, beside everything else: what the disk cannot take is counted, not waited for.

Files hold little-endian u64 words as the board sends them (channel in bits 63..56, picoseconds
modulo 2**56 below), frame after frame: ordered in time within a channel, the channels interleaved.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from .config import RawTags

__all__ = ["TagSpool"]

_QUEUE_BYTES = 256 << 20


class TagSpool:
    """Takes payloads of TAGS frames.

    Parameters
    ----------
    settings
        Where to, and how much.
    cross_check
        Called in the spool's thread with each payload (cut_ps, then words), for a comparison with
        what the board makes of the tags. Its exceptions end the spool and are kept in ``failure``.

    Attributes
    ----------
    tags, dropped
        Tags taken, and tags for which there was no room.
    """

    def __init__(
        self, settings: RawTags, cross_check: Callable[[bytes], None] | None = None
    ) -> None:
        self.tags = 0
        self.dropped = 0
        self.failure: BaseException | None = None
        self._settings = settings
        self._cross_check = cross_check
        self._queued = 0
        self._taken = 0
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._idle = settings.directory is None and cross_check is None
        self._thread = threading.Thread(target=self._run, name="tag-spool", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of tags that wait to be written, or to be looked at."""
        return self._queued - self._taken

    def take(self, payload: bytes) -> None:
        """Queue a payload; never waits."""
        count = len(payload) // 8 - 1
        self.tags += count
        if self._idle:
            return
        if self.failure is not None or self._queued - self._taken > _QUEUE_BYTES:
            self.dropped += count
            return
        self._queued += len(payload)
        self._queue.put(payload)

    def close(self) -> None:
        """Write what is queued, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._spool()
        except BaseException as error:
            self.failure = error

    def _spool(self) -> None:
        directory = self._settings.directory
        limit = self._settings.file_mb << 20
        file = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        try:
            while (payload := self._queue.get()) is not None:
                self._taken += len(payload)
                if directory is not None:
                    if file is None or file.tell() >= limit:
                        if file is not None:
                            file.close()
                        file = self._next_file(directory).open("wb", buffering=1 << 20)
                    file.write(memoryview(payload)[8:])
                if self._cross_check is not None:
                    self._cross_check(payload)
        finally:
            if file is not None:
                file.close()

    def _next_file(self, directory: Path) -> Path:
        files = sorted(directory.glob("tags-*.u64"))
        number = int(files[-1].stem.removeprefix("tags-")) + 1 if files else 0
        total = sum(f.stat().st_size for f in files)
        for old in files:
            if total <= (self._settings.retention_mb - self._settings.file_mb) << 20:
                break
            total -= old.stat().st_size
            old.unlink()
        return directory / f"tags-{number:08d}.u64"
