"""Tracking slots: which they are, and what a relay publishes of them.

A tracking slot is one by number alone, in a schedule that everybody knows beforehand. Both
endpoints remove it from every block, so that its settings may steer what everybody sees. The relay
publishes its clicks in them as events of kind ``tracking`` among its announcements::

    {"kind": "tracking", "first_slot": .., "end_slot": .., "slot": .., "position_ps": ..,
     "detector": ..}

The arrays are in base64: slot u64, position i32, detector u8, little-endian, one entry per click.
An event speaks for all tracking slots of [first_slot, end_slot): what it does not name had no
click. Events of an acquisition follow each other and do not overlap.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .payloads import PayloadError

__all__ = ["MAX_CLICKS", "TrackingClicks", "TrackingSlots"]

MAX_CLICKS = 14_000
"""In one event, so that it fits a frame: who has more takes shorter ranges."""
_MAX_RANGE = 1 << 40
"""Slots from an event's first to its end; at 1 ns that is 18 minutes."""
_LAST_SLOT = (1 << 63) - 1


@dataclass(frozen=True)
class TrackingSlots:
    """Slot k is a tracking slot if and only if ``k % every < length``; a length of 0: none is.

    Raises
    ------
    ValueError
        Not ``0 <= length``, or more than half of all slots.
    """

    every: int = 1
    length: int = 0

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 <= 2 * self.length <= self.every:
            raise ValueError(
                f"{self.length} of every {self.every} slots for tracking; allowed: none to half"
            )

    def inside(self, slots: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(n,) bool: which of these slots, (n,), are tracking slots."""
        return np.asarray(slots, np.uint64) % np.uint64(self.every) < np.uint64(self.length)

    def count(self, first: int, end: int) -> int:
        """Tracking slots in [first, end)."""
        return self._before(end) - self._before(first)

    def within(self, first: int, end: int, most: int) -> NDArray[np.uint64]:
        """(n,) uint64: those in [first, end), in order; the first ``most`` if there are more."""
        if not self.length or end <= first:
            return np.empty(0, np.uint64)
        begin = self._before(first)
        rank = np.arange(begin, min(self._before(end), begin + most), dtype=np.uint64)
        turn, place = np.divmod(rank, np.uint64(self.length))
        return turn * np.uint64(self.every) + place

    def _before(self, slot: int) -> int:
        turn, place = divmod(slot, self.every)
        return turn * self.length + min(place, self.length)


@dataclass(frozen=True, eq=False)
class TrackingClicks:
    """All clicks of a relay in the tracking slots of [first_slot, end_slot), as it says.

    slot : (n,) uint64, within the range, in any order; who takes it sees to the schedule.
    position_ps : (n,) int32, in the slot. detector : (n,) uint8.
    """

    KIND: ClassVar[str] = "tracking"
    first_slot: int
    end_slot: int
    slot: NDArray[np.uint64] = field(repr=False)
    position_ps: NDArray[np.int32] = field(repr=False)
    detector: NDArray[np.uint8] = field(repr=False)

    def values(self) -> dict[str, Any]:
        """The event's. ValueError: more than MAX_CLICKS clicks."""
        if len(self.slot) > MAX_CLICKS:
            raise ValueError(f"{len(self.slot)} clicks do not fit an event of {MAX_CLICKS}")
        return {
            "kind": self.KIND,
            "first_slot": self.first_slot,
            "end_slot": self.end_slot,
            "slot": _text(self.slot, "<u8"),
            "position_ps": _text(self.position_ps, "<i4"),
            "detector": _text(self.detector, "u1"),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> TrackingClicks:
        """Inverse of :meth:`values`.

        Raises
        ------
        PayloadError
            Something is missing or of another form, too much, or out of its range.
        """
        first, end = _number(values, "first_slot"), _number(values, "end_slot")
        if not 0 < end - first <= _MAX_RANGE:
            raise PayloadError("tracking: a range that is empty, goes back or has no end")
        slot = _array(values, "slot", "<u8").astype(np.uint64)
        position = _array(values, "position_ps", "<i4").astype(np.int32)
        detector = _array(values, "detector", "u1").astype(np.uint8)
        if not slot.size == position.size == detector.size:
            raise PayloadError("tracking: arrays of different lengths")
        if slot.size and not (first <= int(slot.min()) and int(slot.max()) < end):
            raise PayloadError("tracking: a slot outside the range")
        return cls(first, end, slot, position, detector)


def _text(array: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def _number(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_SLOT:
        raise PayloadError(f"tracking: {name} is no slot")
    return value


def _array(values: Mapping[str, Any], name: str, kind: str) -> NDArray[Any]:
    text = values.get(name)
    size = np.dtype(kind).itemsize
    if not isinstance(text, str):
        raise PayloadError(f"tracking: no {name}")
    if len(text) > 4 * (-(-MAX_CLICKS * size // 3)):
        raise PayloadError(f"tracking: more than {MAX_CLICKS} clicks")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PayloadError(f"tracking: {name} is no base64") from None
    if len(data) % size:
        raise PayloadError(f"tracking: {name} has no whole entries")
    return np.frombuffer(data, kind)
