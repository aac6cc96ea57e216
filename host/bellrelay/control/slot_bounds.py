"""Between which bounds a slot clock lies that is being trimmed: from heartbeats' counts of slots.

A trim takes effect between two heartbeats, nobody knows where; at several ppm that leaves tens of
slots open. But a heartbeat also says which slot was open at its cut, which is the slot clock to
within a slot; and as a clock that is pulled in slides through the slots, several heartbeats say it
to a small part of one.
"""

from __future__ import annotations

from bellrelay.wire.payloads import Heartbeat

__all__ = ["SlotBounds"]

_ULP = 2.0**-32


class SlotBounds:
    """Of one acquisition.

    Parameters
    ----------
    period_ps, clock_period_ps
        The slot as the board counts it; of the board.

    Attributes
    ----------
    low_ps, high_ps : float
        Trims have moved the slot clock by something between these, up to the last heartbeat.
    contradictions : int
        Heartbeats that left nothing between them: the bounds were begun anew.
    """

    def __init__(self, period_ps: int, clock_period_ps: int) -> None:
        self._period_ps = period_ps
        self._clock_period_ps = clock_period_ps
        self._cut_ps = 0
        self._trim = 0
        self.low_ps = self.high_ps = 0.0
        self.contradictions = 0

    def heartbeat(self, beat: Heartbeat, untrimmed_ps: int) -> None:
        """Take a heartbeat; `untrimmed_ps`: the slot clock at its cut, had it not been trimmed."""
        cut_ps, trim = beat.fields["cut_ps"], beat.fields["trim"]
        clocks = (cut_ps - self._cut_ps) / self._clock_period_ps
        moved = sorted((clocks * _ULP * self._trim, clocks * _ULP * trim))
        self.low_ps += moved[0]
        self.high_ps += moved[1]
        self._cut_ps, self._trim = cut_ps, trim
        least = float(beat.fields["cut_slot"] * self._period_ps - untrimmed_ps)
        most = least + self._period_ps
        low, high = max(self.low_ps, least), min(self.high_ps, most)
        if low > high + 1.0:
            self.contradictions += 1
            low, high = least, most
        self.low_ps, self.high_ps = low, max(low, high)
