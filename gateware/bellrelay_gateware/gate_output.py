"""Gate output of one detector."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["GateOutput"]


class GateOutput(wiring.Component):
    """High in the clocks whose start lies in a window of the slot.

    The slot clock's position belongs to a cell that came in long ago; ``phase`` holds what has
    passed since then, less the window's start, modulo the slot period. The slot clock's rate is
    left out of this: it moves the edge by less than its value times the latency.

    Members
    -------
    active : In(1), position : In(24), slot_period : In(24)
    phase : In(24), below ``slot_period``
    width : In(24), picoseconds, 0 off
    o : Out(1), 3 clocks after ``position``
    """

    LATENCY = 3

    def __init__(self) -> None:
        super().__init__(
            {
                "active": In(1),
                "position": In(24),
                "slot_period": In(24),
                "phase": In(24),
                "width": In(24),
                "o": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        position, inside = Signal(25), Signal(25)
        active, still_active = Signal(), Signal()
        m.d.sync += [
            active.eq(self.active),
            still_active.eq(active),
            position.eq(self.position + self.phase),
            inside.eq(Mux(position >= self.slot_period, position - self.slot_period, position)),
            self.o.eq(still_active & (inside < self.width)),
        ]
        return m
