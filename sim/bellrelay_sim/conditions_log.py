"""A file that says which conditions held from which slot on, one JSON object a line.

    {"acquisition": 3, "slot": 0, "begin": true, "utc_ns": .., "conditions": {..}}
    {"acquisition": 3, "slot": 41230, "utc_ns": .., "conditions": {..}}

A line is there before the first slot that it holds for is simulated. The twin writes it; each
party's source plugin reads what its sender did from it, and a simulation that is given the same
changes at the same slots gives the same clicks again (:func:`replayed`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .choices import Party
from .clicks import Clicks, ClickStream
from .conditions import Conditions, changed
from .ladder_timetable import NEVER
from .link import SimulatedLink
from .source import Source

__all__ = ["ConditionsLog", "ConditionsReader", "Held", "HeldSource", "replayed"]


@dataclass(frozen=True)
class Held:
    """What held from a slot of an acquisition on; utc_ns: when it was simulated."""

    acquisition: int
    slot: int
    begin: bool
    utc_ns: int
    conditions: Conditions


@dataclass(frozen=True)
class HeldSource:
    """What a sender chose from, from a slot on; name: of the ladder, empty for the link's own."""

    slot: int
    name: str
    source: Source


class ConditionsLog:
    """The writer's side.

    A line that a writer before was killed over is taken away: no slot was simulated under it.

    Raises
    ------
    OSError
        The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)

    def last(self, link: SimulatedLink) -> Conditions:
        """What held last, under a process before; what the link's file says if nothing did.

        Raises
        ------
        ValueError
            The file is no conditions log of this link.
        """
        held = ConditionsReader(self._path, link).held()
        return held[-1].conditions if held else Conditions(link)

    def add(self, acquisition: int, slot: int, conditions: Conditions) -> None:
        """Say what holds from this slot on; slot 0 begins an acquisition."""
        line = {
            "acquisition": acquisition,
            "slot": slot,
            "begin": slot == 0,
            "utc_ns": time.time_ns(),
            "conditions": conditions.values(),
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class ConditionsReader:
    """The reader's side: takes what has been appended whenever it is asked, by any thread.

    Parameters
    ----------
    path
        Of the file; it need not be there yet.
    link
        Whose conditions they are.
    """

    def __init__(self, path: Path, link: SimulatedLink) -> None:
        self._path = path
        self._nothing = Conditions(link)
        self._offset = 0
        self._held: list[Held] = []
        # A sender's log is asked by the pipeline and by its monitor at once: read by both, lines
        # would be there twice, and the next ones be looked for in the middle of others.
        self._reading = threading.Lock()

    def held(self) -> list[Held]:
        """Everything so far, in the order in which it came.

        Raises
        ------
        ValueError
            A line is none of a conditions log, or of another link's.
        OSError
            The file is there and cannot be read.
        """
        with self._reading:
            self._read()
            return list(self._held)

    def _read(self) -> None:
        try:
            size = os.stat(self._path).st_size
        except FileNotFoundError:
            return
        if size <= self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        # The last line may be under way.
        whole = data[: data.rfind(b"\n") + 1]
        self._held += [self._parsed(line) for line in whole.splitlines()]
        self._offset += len(whole)

    def of(self, acquisition: int) -> list[Held]:
        """Of one acquisition, from its last beginning on; empty if it has none.

        Raises as :meth:`held`.
        """
        held = [h for h in self.held() if h.acquisition == acquisition]
        begins = [i for i, h in enumerate(held) if h.begin]
        return held[begins[-1] :] if begins else []

    def unsent(self, acquisition: int, party: Party, first: int, end: int) -> NDArray[np.uint64]:
        """(k, 2) uint64: slots of [first, end) in which a sender did not send; sorted, disjoint.

        Raises
        ------
        LookupError
            Of this acquisition nothing is known.
        """
        held = self.of(acquisition)
        if not held:
            raise LookupError(f"of acquisition {acquisition} the twin has said nothing")
        ends = [h.slot for h in held[1:]] + [max(end, held[-1].slot)]
        parts = [
            h.conditions.orders(party).unsent(max(first, h.slot), min(end, until))
            for h, until in zip(held, ends, strict=True)
        ]
        return np.concatenate(parts)

    def ladders(self, acquisition: int, party: Party, first: int, end: int) -> list[HeldSource]:
        """What a sender chose from in [first, end), in order; the first begins at or before it.

        Raises
        ------
        LookupError
            Of this acquisition nothing is known.
        """
        held = self.of(acquisition)
        if not held:
            raise LookupError(f"of acquisition {acquisition} the twin has said nothing")
        out: list[HeldSource] = []
        for one, until in zip(held, [h.slot for h in held[1:]] + [end], strict=True):
            ladders = one.conditions.orders(party).ladders
            slot, until = one.slot, min(until, end)
            while slot < until:
                told = None if ladders is None else ladders.at(slot)
                source = one.conditions.source(party, slot)
                if not out or out[-1].source != source:
                    out.append(HeldSource(slot, "" if told is None else told[1], source))
                slot = NEVER if ladders is None else ladders.next_after(slot)
        begun = [h for h in out if h.slot <= first]
        return [*begun[-1:], *(h for h in out if first < h.slot < end)]

    def _parsed(self, line: bytes) -> Held:
        try:
            value = json.loads(line)
            return Held(
                int(value["acquisition"]),
                int(value["slot"]),
                bool(value["begin"]),
                int(value["utc_ns"]),
                changed(self._nothing, value["conditions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path}: no line of a conditions log: {error}") from None


def replayed(link: SimulatedLink, slots: int, held: list[Held]) -> Clicks:
    """The clicks of an acquisition under the conditions that were recorded of it.

    Parameters
    ----------
    link
        With the seed of the acquisition.
    slots
        How many to simulate.
    held
        As :meth:`ConditionsReader.of` gives it.
    """
    stream = ClickStream(link, slots, changing=True)
    parts = []
    for one in held:
        parts.append(stream.advance(one.slot - stream.slot))
        stream.change(one.conditions)
    parts += stream.chunks()
    return Clicks(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.channel for part in parts]),
    )
