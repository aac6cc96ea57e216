"""By which ladder a simulated sender sends each slot of an acquisition, as it was told ahead.

In a change of conditions, of one sender::

    {"ladders": {"acquisition": 1,
                 "tables": {"5be2f0a1": {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0,
                                         "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}},
                 "from": [[2000000, "5be2f0a1"]]}}

Each holds from its slot on until the next begins, the last one for ever; before the first, the
link's own holds. What was told before of earlier slots stays.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from .source import Source, four_intensity

__all__ = ["NEVER", "LadderTimetable"]

NEVER = 1 << 62
"""A slot beyond all."""
_KEPT = 4096


@dataclass(frozen=True)
class LadderTimetable:
    """Of one sender in one acquisition.

    Parameters
    ----------
    acquisition
        Its id.
    tables
        By name, parameters of :func:`~.source.four_intensity`.
    begins
        (slot, name of the table) in the order of slots.

    Raises
    ------
    ValueError
        Slots do not rise, a name has no table, or a table is none.
    """

    acquisition: int
    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    begins: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        slots = [slot for slot, _ in self.begins]
        if any(b <= a for a, b in pairwise(slots)) or min(slots, default=0) < 0:
            raise ValueError("ladders: slots must rise")
        unknown = sorted({name for _, name in self.begins} - set(self.tables))
        if unknown:
            raise ValueError(f"ladders: {unknown[0]} has no table")
        _ = self.sources

    @cached_property
    def sources(self) -> dict[str, Source]:
        """By name, what is sent."""
        try:
            return {name: four_intensity(**table) for name, table in self.tables.items()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"ladders: {error}") from None

    def at(self, slot: int) -> tuple[int, str] | None:
        """(slot that it began at, name) of the ladder of a slot; None: the link's own."""
        i = bisect.bisect_right(self.begins, slot, key=lambda b: b[0])
        return self.begins[i - 1] if i else None

    def next_after(self, slot: int) -> int:
        """First slot after this one in which another ladder begins; NEVER if none does."""
        i = bisect.bisect_right(self.begins, slot, key=lambda b: b[0])
        return self.begins[i][0] if i < len(self.begins) else NEVER

    def then(self, later: LadderTimetable) -> LadderTimetable:
        """This one, and from where a later one begins, that."""
        if later.acquisition != self.acquisition or not later.begins:
            return later
        first = later.begins[0][0]
        begins = (*(b for b in self.begins if b[0] < first), *later.begins)[-_KEPT:]
        tables = {**self.tables, **later.tables}
        used = {name for _, name in begins}
        return LadderTimetable(
            self.acquisition, {n: t for n, t in tables.items() if n in used}, begins
        )

    def values(self) -> dict[str, Any]:
        """Plain values; inverse of :meth:`parse`."""
        return {
            "acquisition": self.acquisition,
            "tables": {name: dict(table) for name, table in self.tables.items()},
            "from": [list(b) for b in self.begins],
        }

    @classmethod
    def parse(cls, values: object) -> LadderTimetable:
        """From plain values; ValueError if they are none."""
        if not isinstance(values, Mapping) or set(values) != {"acquisition", "tables", "from"}:
            raise ValueError("ladders must have acquisition, tables and from")
        tables, begins = values["tables"], values["from"]
        if not isinstance(tables, Mapping) or not all(
            isinstance(t, Mapping) for t in tables.values()
        ):
            raise ValueError("ladders: tables must be mappings, by name")
        try:
            rows = tuple((_whole(slot), str(name)) for slot, name in begins)
        except TypeError:
            raise ValueError("ladders: from must be pairs of slot and name") from None
        return cls(
            _whole(values["acquisition"]), {str(n): dict(t) for n, t in tables.items()}, rows
        )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"ladders: {value!r} is no whole number")
    return value
