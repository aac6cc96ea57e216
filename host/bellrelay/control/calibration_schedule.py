"""When which calibration step is due, overdue, or waits for its time of day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Due", "Rule", "Schedule", "in_window", "next_opening_s"]

_DAY_S = 86400.0
_GRACE_S = 3600.0


class Rule(Protocol):
    """Steps that are run again and again, as the configuration has them."""

    @property
    def steps(self) -> tuple[str, ...]: ...

    @property
    def hours(self) -> float: ...

    @property
    def window(self) -> tuple[int, int] | None:
        """Minutes of the day in UTC; an end before the start lies past midnight."""
        ...


def in_window(window: tuple[int, int], now_s: float) -> bool:
    """Whether a time (UTC, seconds since the epoch) lies in a window of the day, half open."""
    start, end = (60.0 * minute for minute in window)
    return (now_s - start) % _DAY_S < (end - start) % _DAY_S


def next_opening_s(window: tuple[int, int], now_s: float) -> float:
    """The first time from now on that lies in the window."""
    if in_window(window, now_s):
        return now_s
    return now_s + (60.0 * window[0] - now_s) % _DAY_S


def _whole_end_s(window: tuple[int, int], now_s: float) -> float:
    """The end of the first window that opens from now on."""
    start, end = (60.0 * minute for minute in window)
    return now_s + (start - now_s) % _DAY_S + (end - start) % _DAY_S


@dataclass(frozen=True)
class Due:
    """A step by a rule.

    due_s : when it was due, or will be: so long after it last ended well. open_s : when it may
    begin by the rule's window, from `due_s` on. late_s : from then on it is overdue.
    """

    step: str
    due_s: float
    open_s: float
    late_s: float


class Schedule:
    """What is due, by the rules and by when each step last ended well.

    Parameters
    ----------
    rules
        In the order of the configuration.
    last_s
        Of a step: when it last ended well (UTC, seconds), None if it never has.
    started_s
        What never ran is due from here on.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        last_s: Callable[[str], float | None],
        started_s: float,
    ) -> None:
        self._rules = tuple(rules)
        self._last_s = last_s
        self._started_s = started_s

    def all(self, now_s: float) -> list[Due]:
        """Every step of every rule; those that are due first, in the order of the rules."""
        out: list[Due] = []
        for rule in self._rules:
            for step in rule.steps:
                last = self._last_s(step)
                due = self._started_s if last is None else last + 3600.0 * rule.hours
                out.append(self._due(step, due, rule.window, now_s))
        # Sorting keeps the order of those that are alike.
        return sorted(out, key=lambda d: d.due_s > now_s)

    def ready(self, now_s: float) -> list[Due]:
        """Those that may begin now; a step that several rules name, once."""
        out: dict[str, Due] = {}
        for due in self.all(now_s):
            if due.due_s <= now_s and due.open_s <= now_s:
                out.setdefault(due.step, due)
        return list(out.values())

    def overdue(self, now_s: float) -> list[str]:
        """Steps that should have been run: a whole window has passed, or an hour without one."""
        return sorted({due.step for due in self.all(now_s) if now_s >= due.late_s})

    @staticmethod
    def _due(step: str, due_s: float, window: tuple[int, int] | None, now_s: float) -> Due:
        if window is None:
            return Due(step, due_s, due_s, due_s + _GRACE_S)
        late = _whole_end_s(window, due_s)
        return Due(step, due_s, next_opening_s(window, max(due_s, now_s)), late)
