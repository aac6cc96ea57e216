"""Times in which a sender was asked to send other intensities than it declares: kept on disk.

Bounds are made with the declared intensities. What was sent while somebody had asked for more
attenuation, for whatever good reason, makes no key. The file is written before the sender is asked,
so that no crash in between leaves light that nobody knows of.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["UndeclaredTimes"]

_KEPT_NS = 7 * 86400 * 1_000_000_000
"""No block is admitted that began longer ago."""


class UndeclaredTimes:
    """Of one sender. May be used from any thread.

    Parameters
    ----------
    path
        The file; made with the first such time.
    clock_ns
        UTC nanoseconds.

    Raises
    ------
    OSError
        It is there and cannot be read: then nobody knows, and nothing may be admitted.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        # Begin, end (None: still), why.
        self._times: list[tuple[int, int | None, str]] = []
        if path.exists():
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                self._times = [
                    (int(a), None if b is None else int(b), str(why)) for a, b, why in rows
                ]
            except (ValueError, TypeError) as error:
                raise OSError(errno.EINVAL, f"no list of times: {error}", str(path)) from None

    @property
    def standing(self) -> str | None:
        """Why what is sent now is not as declared; None: it is."""
        with self._lock:
            return self._times[-1][2] if self._times and self._times[-1][1] is None else None

    def begin(self, why: str) -> None:
        """From now on, until :meth:`end`. OSError: not on disk, so the sender must not be asked."""
        with self._lock:
            now = self._clock_ns()
            times = self._without_old(now)
            if times and times[-1][1] is None:
                times[-1] = (times[-1][0], None, why)
            else:
                times.append((now, None, why))
            self._write(times)

    def end(self) -> None:
        """What is sent from now on is as declared."""
        with self._lock:
            if self._times and self._times[-1][1] is None:
                now = self._clock_ns()
                times = self._without_old(now)
                times[-1] = (times[-1][0], now, times[-1][2])
                self._write(times)

    def within(self, begin_ns: int, end_ns: int) -> str | None:
        """Why something that was sent in this time may not be as declared; None: all of it is."""
        with self._lock:
            for begin, end, why in self._times:
                if begin <= end_ns and (end is None or end >= begin_ns):
                    return why
        return None

    def _without_old(self, now_ns: int) -> list[tuple[int, int | None, str]]:
        return [t for t in self._times if t[1] is None or t[1] > now_ns - _KEPT_NS]

    def _write(self, times: list[tuple[int, int | None, str]]) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(times, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._times = times
