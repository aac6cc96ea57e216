"""Rates of a board's counters, of single seconds and of the last minute, by the board's own clock.

A scrape every quarter of a minute sees means alone; a burst of a second that fills a buffer, or
blinds a detector, stands in the highest second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise

from bellrelay.wire.counters import LOSS_COUNTERS
from bellrelay.wire.payloads import Heartbeat

__all__ = ["RecentRates"]

_PS = 1e12
_SECONDS = 60
_OF_EACH = ("clicks_", "dead_time_", "outside_")
_SUMS = {
    "announced": ("announced_psi_minus", "announced_psi_plus"),
    "slots_not_live": ("slots_not_live",),
}


def _totals(counters: Mapping[str, int]) -> dict[str, int]:
    totals = {name: number for name, number in counters.items() if name.startswith(_OF_EACH)}
    for name, parts in _SUMS.items():
        totals[name] = sum(counters.get(part, 0) for part in parts)
    totals["lost"] = sum(n for name, n in counters.items() if name.startswith(LOSS_COUNTERS))
    return totals


class RecentRates:
    """Takes heartbeats as often as they come, or more seldom. One thread takes, any thread asks."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, dict[str, int]]] = deque(maxlen=_SECONDS + 1)

    def take(self, beat: Heartbeat) -> None:
        """The newest heartbeat; nothing if less than a second has passed since the last."""
        at = int(beat.fields.get("cut_ps", 0))
        if self._marks:
            last, before = self._marks[-1]
            if 0 <= at - last < _PS:
                return
            totals = _totals(beat.counters)
            if at < last or any(totals[name] < before.get(name, 0) for name in totals):
                # Another acquisition counts from 0.
                self._marks.clear()
            self._marks.append((at, totals))
            return
        self._marks.append((at, _totals(beat.counters)))

    def status(self) -> dict[str, dict[str, float]]:
        """By what was counted: `peak`, the highest rate of any second, and `mean`; in 1/s.

        Empty until a second has passed.
        """
        marks = list(self._marks)
        if len(marks) < 2:
            return {}
        (begin, first), (end, last) = marks[0], marks[-1]
        out = {}
        for name in last:
            rates = [
                (b[name] - a.get(name, 0)) * _PS / (at - since)
                for (since, a), (at, b) in pairwise(marks)
            ]
            mean = (last[name] - first.get(name, 0)) * _PS / (end - begin)
            out[name] = {"peak": max(rates), "mean": mean}
        return out
