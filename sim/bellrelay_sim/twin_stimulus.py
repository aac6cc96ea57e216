"""Photons for a board: the clicks of a simulated link, given to it ahead of its clock."""

from __future__ import annotations

from typing import Any

from .board import Board
from .choices import Party
from .clicks import ClickStream
from .link import SimulatedLink

__all__ = ["Stimulus"]


class Stimulus:
    """One acquisition's clicks.

    Parameters
    ----------
    link
        What is simulated.
    slots
        Slots of the acquisition; dark counts and sync tags end with the last one.
    changing
        Whether conditions may change under way.
    """

    def __init__(self, link: SimulatedLink, slots: int, *, changing: bool = False) -> None:
        self.link = link
        self.stream = ClickStream(link, slots, changing=changing)
        self.clicks = 0
        """Arrivals given to the board so far."""
        self._last_ps = 0

    @property
    def end_ps(self) -> int:
        """After this nothing arrives any more; only known once all has been given."""
        return max(self.stream.slots * self.link.slot_period_ps, self._last_ps + 1)

    def give(self, board: Board, until_ps: int) -> None:
        """Give all arrivals before ``until_ps`` to the board (or more)."""
        stream = self.stream
        # Clicks of the last slots of a chunk come with the next one: a tick ahead is far enough.
        target = stream.slots_before(until_ps + board.geometry.tick_ps) + 1
        while not stream.done and stream.slot < target:
            clicks = stream.advance(target - stream.slot)
            if clicks.t.size:
                board.stimulate(clicks.t, clicks.channel)
                self.clicks += clicks.t.size
                self._last_ps = int(clicks.t[-1])

    def truth(self) -> dict[str, Any]:
        """What the simulation knows: slots, arrivals, delays now, the detectors' clicks by fate."""
        fates = self.stream.fates
        return {
            "slots": self.stream.slot,
            "clicks": self.clicks,
            "delays_ps": {
                party.name.lower(): self.stream.arrival_delay_ps(party) for party in Party
            },
            "detectors": {
                detector.name: {name: values[i] for name, values in fates.by_name().items()}
                for i, detector in enumerate(self.link.detectors)
            },
        }
