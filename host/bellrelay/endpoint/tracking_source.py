"""The one way in which tracking asks a sender's log: about tracking slots, and settings alone.

What a relay says of a slot may be a lie, and what follows from it is seen outside: the sender's
delay. So a relay that could have any slot asked for here would read that slot's setting. Whatever
comes in, the log is asked for slots of the schedule and for no other, of acquisitions that have
that schedule for ever; bits are dropped where they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.tracking import TrackingClicks, TrackingSlots

from .slot_ranges import inside
from .source_log import SETTINGS, SlotNotKept, SourceLog, SourceLogError

__all__ = ["SentInTracking", "TrackingSource"]

_MOST_SLOTS = 1 << 22
"""Of an event, that settings are asked for: what is beyond is left out, clicks and slots alike."""


@dataclass(frozen=True, eq=False)
class SentInTracking:
    """What our sender sent in the tracking slots of an event, and where there were clicks.

    slots : (4,) int64, slots by setting, with a click or without. position_ps : (n,) int32, of the
    clicks; setting : (n,) uint8, sent in their slots. first_slot, end_slot : about which this is.
    outside : clicks that the event places in slots that are no tracking slots; of these nothing was
    asked. unknown : clicks in tracking slots that the sender has no record of.
    """

    slots: NDArray[np.int64] = field(repr=False)
    position_ps: NDArray[np.int32] = field(repr=False)
    setting: NDArray[np.uint8] = field(repr=False)
    first_slot: int = 0
    end_slot: int = 0
    outside: int = 0
    unknown: int = 0


class TrackingSource:
    """Settings of one sender in the tracking slots of one relay.

    Parameters
    ----------
    tracking
        The schedule that both endpoints have agreed on.
    open_source
        Opens the sender's log of an acquisition.
    hold
        Holds an acquisition to this schedule, on disk before anything is asked; False if it has
        another one.

    May be used in one thread at a time.
    """

    def __init__(
        self,
        tracking: TrackingSlots,
        open_source: Callable[[int], SourceLog],
        hold: Callable[[int], bool],
    ) -> None:
        self.tracking = tracking
        self._open_source = open_source
        self._hold = hold
        self._source: SourceLog | None = None

    def __repr__(self) -> str:
        return f"TrackingSource({self.tracking})"

    def look(self, acquisition: int, clicks: TrackingClicks) -> SentInTracking:
        """Put what was sent beside what was seen.

        Raises
        ------
        SourceLogError
            There is no record of these slots, or the acquisition has another schedule.
        OSError
            As of the log, and of the store.
        """
        source = self._opened(acquisition)
        tracked = self.tracking.inside(clicks.slot)
        oldest, recorded = source.kept
        first, end = max(clicks.first_slot, oldest), min(clicks.end_slot, recorded)
        if end <= first:
            raise SlotNotKept(f"slots {clicks.first_slot} to {clicks.end_slot} are not kept")
        slots = self.tracking.within(first, end, _MOST_SLOTS)
        if len(slots) == _MOST_SLOTS:
            end = int(slots[-1]) + 1
        if len(slots):
            slots = slots[~inside(source.removed(int(slots[0]), int(slots[-1]) + 1), slots)]
        setting = self._settings(source, slots)
        slot = clicks.slot[tracked]
        at = np.searchsorted(slots, slot)
        known = at < len(slots)
        known[known] = slots[at[known]] == slot[known]
        return SentInTracking(
            np.bincount(setting, minlength=len(SETTINGS)),
            clicks.position_ps[tracked][known],
            setting[at[known]],
            first,
            end,
            int(np.count_nonzero(~tracked)),
            int(np.count_nonzero(~known)),
        )

    def intensities(self, acquisition: int) -> NDArray[np.float64]:
        """(4,) float64: mean photon numbers as the sender declares them. Raises as :meth:`look`."""
        return self._opened(acquisition).intensities

    def close(self) -> None:
        """Give the log back."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _settings(self, source: SourceLog, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        # Here and nowhere else is asked; whoever calls, no other slot's choice comes out.
        if not self.tracking.inside(slots).all():
            raise SourceLogError("a slot that is no tracking slot was to be asked for")
        return source.choices(slots).setting

    def _opened(self, acquisition: int) -> SourceLog:
        if self._source is None or self._source.acquisition != acquisition:
            self.close()
            if not self._hold(acquisition):
                raise SourceLogError(
                    f"acquisition {acquisition} began with other tracking slots: none is asked for"
                )
            self._source = self._open_source(acquisition)
        return self._source
