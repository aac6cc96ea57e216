"""Phase of the slot clock from the sync channel, slots counted: from what heartbeats say of it."""

from __future__ import annotations

from dataclasses import dataclass

from bellrelay.wire.payloads import Heartbeat

__all__ = ["SyncPhase", "SyncReading"]


@dataclass(frozen=True)
class SyncReading:
    """phase_ps: how late the last sync tag came, against slot and position where it belongs.

    at_s: seconds of the board's clock since the acquisition began. number: of the tag, from 0.
    """

    phase_ps: float
    at_s: float
    number: int


class SyncPhase:
    """Of one acquisition.

    Sync tags are counted by the board, so that the phase is known to the slot, and not only within
    one: the number of the first tag seen follows from its slot, which cannot be wrong by half a
    sync period yet, and all others from there.

    Parameters
    ----------
    slots_per_tag
        Slots from one sync tag to the next; the first is that of slot 0.
    position_ps
        Where in its slot a sync tag belongs.
    period_ps
        The slot as the board counts it.
    """

    def __init__(self, slots_per_tag: int, position_ps: float, period_ps: int) -> None:
        self._slots_per_tag = slots_per_tag
        self._position_ps = position_ps
        self._period_ps = period_ps
        self._first: int | None = None
        self._seen = 0

    def read(self, beat: Heartbeat) -> SyncReading | None:
        """What a heartbeat says; None without a tag since the one before."""
        count = beat.counters["sync"]
        if count == self._seen or count == 0:
            return None
        self._seen = count
        fields = beat.fields
        shown = fields["sync_slot"] * self._period_ps + fields["sync_pos"]
        between = self._slots_per_tag * self._period_ps
        if self._first is None:
            self._first = round((shown - self._position_ps) / between) - (count - 1)
        number = self._first + count - 1
        # In units of the slot clock, which differ from seconds by its trim: nothing to an age.
        age_ps = max(fields["cut_slot"] - fields["sync_slot"], 0) * self._period_ps
        at_s = (fields["cut_ps"] - age_ps) * 1e-12
        return SyncReading(shown - number * between - self._position_ps, at_s, number)
