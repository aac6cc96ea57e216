"""Where our light was directed, and when: on disk before the sender is asked.

It says which relay is the active one after a restart, and in which blocks there was light of ours
at all. A block of a relay that none was directed to is not worked: it can give no key, and it costs
no key. What is written errs on the side of light: a time begins before the sender is asked to send
there, and ends after it has been told to send elsewhere. So a block with light in it is worked
whatever dies in between; now and then one without is, too.

What a block in which the direction changed counts, is the source log's matter, and either way is
safe. Slots that were not sent and are recorded so are removed: by time alone, so that nothing
secret is chosen with them, and they leave N. Slots that the log has as sent while light went
elsewhere count as sent: to the proof they are pulses that the relay has thrown away, which it may
do with any. The intensities of what was sent are the declared ones in either case; a switch on its
way attenuates light behind the place where they are declared, as a fibre does.

When a block was sent, the relay says (:class:`~.announcement_rules.CollectedBlock`). It may lie:
then blocks with light are passed over, or blocks without are worked. Both it can have by
announcing nothing, or nonsense. Which blocks are worked is decided by each endpoint for itself, and
one that only one of them has sent to is given up by both.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .key_files import sync_directory

__all__ = ["Directions"]

_KEPT_NS = 30 * 86400 * 1_000_000_000
_MOST = 1000
"""Times on disk. A timetable moves light twice a minute, and all is written each time."""
_SLACK_NS = 2_000_000_000
"""How far the relay's clock and ours may be apart, and how late we may hear of a block."""


class Directions:
    """Of one sender. May be used from any thread.

    Parameters
    ----------
    path
        The file; made with the first direction.
    relays
        Ids of the relays in their order; the first is active where the file says nothing.
    clock_ns
        UTC nanoseconds.

    Attributes
    ----------
    active : str
        The relay that both have agreed upon last.
    number : int
        Of the move to it, as Alice counts; 0 before the first.
    since_ns : int
        UTC of that move; 0 before the first.
    why : str
        Its reason.
    pinned : bool
        Whether an operator wanted it.

    Raises
    ------
    OSError
        The file is there and cannot be read.
    """

    def __init__(
        self, path: Path, relays: Sequence[str], clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self.active, self.number, self.since_ns = relays[0], 0, 0
        self.why, self.pinned = "", False
        # Relay, begin, end (None: still). Before there was any choice, light went to the first.
        self._times: list[tuple[str, int, int | None]] = [(relays[0], 0, None)]
        if not path.exists():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self._times = [
                (str(relay), int(begin), None if end is None else int(end))
                for relay, begin, end in content["times"]
            ]
            self.number = int(content["number"])
            if content["active"] in relays:
                self.active = str(content["active"])
                self.since_ns = int(content["since_ns"])
                self.why, self.pinned = str(content["why"]), bool(content["pinned"])
        except (ValueError, TypeError, KeyError) as error:
            raise OSError(errno.EINVAL, f"no directions: {error}", str(path)) from None

    def choose(self, relay_id: str, number: int, why: str, pinned: bool) -> None:
        """Both have agreed upon this relay. OSError: it is not on disk, and holds nowhere."""
        with self._lock:
            before = self.active, self.number, self.since_ns, self.why, self.pinned
            if relay_id != self.active or not self.since_ns:
                self.since_ns = self._clock_ns()
            self.active, self.number, self.why, self.pinned = relay_id, number, why, pinned
            try:
                self._write(self._times)
            except OSError:
                self.active, self.number, self.since_ns, self.why, self.pinned = before
                raise

    def towards(self, relay_id: str) -> None:
        """Light is about to be directed there, too. OSError: the sender must not be asked."""
        with self._lock:
            if not any(relay == relay_id and end is None for relay, _, end in self._times):
                self._write([*self._times, (relay_id, self._clock_ns(), None)])

    def only(self, relay_id: str | None) -> None:
        """Light is directed there and nowhere else; None: nowhere."""
        with self._lock:
            now = self._clock_ns()
            times = [
                (relay, begin, now if end is None and relay != relay_id else end)
                for relay, begin, end in self._times
            ]
            if times != self._times:
                self._write(times)

    def lit(self, relay_id: str, begin_ns: int, end_ns: int) -> bool:
        """Whether light was directed there at any time between these two, UTC, or close to it."""
        with self._lock:
            return any(
                relay == relay_id
                and begin <= end_ns + _SLACK_NS
                and (end is None or end >= begin_ns - _SLACK_NS)
                for relay, begin, end in self._times
            )

    def _write(self, times: list[tuple[str, int, int | None]]) -> None:
        oldest = self._clock_ns() - _KEPT_NS
        times = [t for t in times if t[2] is None or t[2] > oldest]
        if len(times) > _MOST:
            times = _joined(times[: -_MOST // 2]) + times[-_MOST // 2 :]
        content = {
            "active": self.active,
            "number": self.number,
            "since_ns": self.since_ns,
            "why": self.why,
            "pinned": self.pinned,
            "times": times,
        }
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        sync_directory(self._path.parent)
        self._times = times


def _joined(times: list[tuple[str, int, int | None]]) -> list[tuple[str, int, int | None]]:
    """One time of each relay, from its first begin to its last end: errs on the side of light."""
    out: list[tuple[str, int, int | None]] = []
    for relay in dict.fromkeys(relay for relay, _, _ in times):
        mine = [(begin, end) for each, begin, end in times if each == relay]
        ends = [end for _, end in mine if end is not None]
        still = len(ends) < len(mine)
        out.append((relay, min(begin for begin, _ in mine), None if still else max(ends)))
    return out
