"""Who is served when by relays that several pairs share: the timetable, as an endpoint reads it.

`bellrelay plan NETWORK.yaml --timetable FILE` makes it. Time is divided into frames that begin at
whole multiples of their length since the UTC epoch, and every frame is alike; in it each pair has
windows at relays. An endpoint directs its light to a relay in its own windows there only, so that
two pairs never send to one relay at once. Whoever makes a timetable is not trusted: it says when
light is sent and which slots count, both by time alone, and nothing about what is chosen in them.

Endpoints go by their own clocks: what these are apart from UTC, the settling time of every window
has to take.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, Model, Name, between

from .slot_ranges import Ranges, no_ranges, union
from .source_log import SourceLog

if TYPE_CHECKING:
    from .config import EndpointConfig

__all__ = [
    "PairWindows",
    "Timetable",
    "Window",
    "WindowedSource",
    "load_timetable",
    "windows_of",
]

_NS = 1_000_000_000
_Seconds = Annotated[float, between(0.0, 1e6, "s")]


class Window(Model):
    """A time in every frame in which a relay serves a pair."""

    relay: Name = Field(description="relay_id")
    a: Name = Field(description="endpoint_id of one of the pair")
    b: Name = Field(description="endpoint_id of the other")
    from_s: _Seconds = Field(description="light is directed from here on, and settles")
    begin_s: _Seconds = Field(description="slots count from here on")
    end_s: _Seconds = Field(description="and until here, where the light goes elsewhere")
    standby: bool = Field(
        default=False, description="used only while a relay before it in the pair's order is lost"
    )


class Timetable(FileModel):
    """The file."""

    frame_s: Annotated[float, between(1.0, 1e6, "s")] = Field(
        description="length of a frame; frames begin at its multiples since the UTC epoch"
    )
    windows: tuple[Window, ...] = Field(description="of all pairs")

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        by_relay: dict[str, list[tuple[float, float, int]]] = {}
        by_site: dict[str, list[tuple[float, float, int]]] = {}
        for n, window in enumerate(self.windows):
            if not window.from_s <= window.begin_s < window.end_s <= self.frame_s:
                what = "from_s <= begin_s < end_s, within the frame"
                out.append((f"windows.{n}", window.model_dump(), what))
            if window.a == window.b:
                out.append((f"windows.{n}.b", window.b, "another than a"))
            times = (window.from_s, window.end_s, n)
            by_relay.setdefault(window.relay, []).append(times)
            for site in () if window.standby else {window.a, window.b}:
                by_site.setdefault(site, []).append(times)
        for whose, groups in (("the relay's", by_relay), ("a sender's", by_site)):
            for windows in groups.values():
                for before, after in pairwise(sorted(windows)):
                    if after[0] < before[1]:
                        what = f"not before {before[1]:g}, where {whose} window before it ends"
                        out.append((f"windows.{after[2]}.from_s", after[0], what))
        return out

    def of_pair(self, one: str, other: str) -> PairWindows:
        """Windows of two endpoints."""
        mine = [w for w in self.windows if {w.a, w.b} == {one, other}]
        return PairWindows(self.frame_s, mine)


def load_timetable(path: Path) -> Timetable:
    """Read a timetable.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(Timetable, path)


def windows_of(config: EndpointConfig) -> PairWindows | None:
    """Windows of an endpoint and its peer; None: its configuration names no timetable.

    Raises
    ------
    ConfigError
        The file cannot be used, or has no window of theirs at any of their relays.
    """
    if config.timetable is None:
        return None
    one, other = config.timetable.pair or (config.endpoint_id, config.peer_id)
    windows = load_timetable(config.timetable.file).of_pair(one, other)
    if not {relay.id for relay in config.relays} & set(windows.relays):
        allowed = f"a timetable with a window of {one} and {other} at a relay of theirs"
        raise config.error("timetable.file", str(config.timetable.file), allowed)
    return windows


@dataclass(frozen=True)
class _Times:
    """In a frame, in ns: light from here, slots count from here, end.

    standby : only while a relay before it is lost.
    """

    light: int
    begin: int
    end: int
    standby: bool


class PairWindows:
    """One pair's windows, by relay.

    Attributes
    ----------
    digest : str
        Of all of them: alike on both sides, or they do not speak with each other.
    """

    def __init__(self, frame_s: float, windows: Sequence[Window]) -> None:
        self._frame_ns = round(frame_s * _NS)
        self._windows: dict[str, list[_Times]] = {}
        for w in sorted(windows, key=lambda w: (w.relay, w.from_s)):
            light, begin, end = (round(s * _NS) for s in (w.from_s, w.begin_s, w.end_s))
            times = _Times(light, begin, end, w.standby)
            self._windows.setdefault(w.relay, []).append(times)
        said = {r: [[t.light, t.begin, t.end] for t in ts] for r, ts in self._windows.items()}
        text = json.dumps([self._frame_ns, said], sort_keys=True).encode()
        self.digest = hashlib.sha256(text).hexdigest()

    @property
    def relays(self) -> tuple[str, ...]:
        """Relays that serve it at all."""
        return tuple(self._windows)

    def serves(self, relay_id: str) -> bool:
        """Whether this relay ever serves it."""
        return relay_id in self._windows

    def open(self, relay_id: str, now_ns: int) -> bool:
        """Whether light goes there now, UTC; settling included."""
        at = now_ns % self._frame_ns
        return any(t.light <= at < t.end for t in self._windows.get(relay_id, ()))

    def turn(self, now_ns: int) -> str | None:
        """The relay whose own window, not one on standby, is open now; None: no relay's."""
        at = now_ns % self._frame_ns
        for relay_id, windows in self._windows.items():
            if any(t.light <= at < t.end and not t.standby for t in windows):
                return relay_id
        return None

    def takes_turns(self, relay_id: str) -> bool:
        """Whether it has windows of its own, not on standby."""
        return any(not t.standby for t in self._windows.get(relay_id, ()))

    def unserved(
        self, relay_id: str, start_ns: int, period_ps: float, first: int, end: int
    ) -> Ranges:
        """(k, 2) uint64: slots of [first, end) that do not lie wholly in a window, sorted.

        start_ns : UTC of slot 0. period_ps : of a slot.
        """
        frame = self._frame_ns
        begin_ns = start_ns + first * period_ps / 1000.0
        end_ns = start_ns + end * period_ps / 1000.0
        served: list[tuple[int, int]] = []
        for number in range(int(begin_ns // frame), int(end_ns // frame) + 1):
            for t in self._windows.get(relay_id, ()):
                low = (number * frame + t.begin - start_ns) * 1000.0 / period_ps
                high = (number * frame + t.end - start_ns) * 1000.0 / period_ps
                a, b = max(int(np.ceil(low)), first), min(int(np.floor(high)), end)
                if a < b:
                    served.append((a, b))
        if not served:
            return union([[first, end]]) if first < end else no_ranges()
        edges = [first, *(edge for both in sorted(served) for edge in both), end]
        return union(np.array(edges, np.uint64).reshape(-1, 2))


class WindowedSource:
    """A source log in which slots outside a pair's windows count as not sent.

    They are removed by time alone, before anything is known of them. A source that does not know
    when its slots were sent says itself which it did not send; what it takes for sent counts.

    Parameters
    ----------
    log
        Of the sender, and one relay.
    windows, relay_id
        The pair's.
    """

    def __init__(self, log: SourceLog, windows: PairWindows, relay_id: str) -> None:
        self._log = log
        self._windows = windows
        self._relay_id = relay_id

    def __getattr__(self, name: str) -> Any:
        # What only some logs have (ladders, readings) this one has where they do.
        return getattr(self._log, name)

    def removed(self, first: int, end: int) -> Ranges:
        """What the log says, and what lies outside the windows."""
        dropped = self._log.removed(first, end)
        start_ns, period_ps = self._log.start_ns, self._log.slot_period_ps
        if not start_ns or not period_ps:
            return dropped
        return union(
            dropped, self._windows.unserved(self._relay_id, start_ns, period_ps, first, end)
        )

    def sent(self, first: int, end: int) -> int:
        """Slots less the removed ones."""
        ranges = self.removed(first, end)
        return end - first - int(np.sum(ranges[:, 1] - ranges[:, 0], dtype=np.uint64))
