"""Slot and position in the slot of one channel's tags."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import delta_width, located_layout, step_width, suppressed_layout

__all__ = ["SlotPosition"]


class SlotPosition(wiring.Component):
    """Divides a tag's reference time by the slot period, one quotient bit per clock.

    Members
    -------
    slot_period : In
    position, step : In, of the tag's cell, as :class:`~.slot_clock.SlotClock` gives them
    i : In, tag
    o : Out, :func:`~.tag.located_layout`, ``latency`` clocks later; one tag per clock
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        self.latency = 1 + delta_width(g)
        super().__init__(
            {
                "slot_period": In(24),
                "position": In(24),
                "step": In(step_width(g)),
                "i": In(suppressed_layout(g)),
                "o": Out(located_layout(g)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        bits = delta_width(g)
        valid = Signal()
        suppressed = Signal()
        rest = Signal(25)
        # A cell that the rate shortened: what lies beyond its end belongs to its last picosecond.
        inside = Mux(self.i.fine < self.step, self.i.fine, self.step - 1)
        m.d.sync += [
            valid.eq(self.i.valid),
            suppressed.eq(self.i.suppressed),
            rest.eq(self.position + inside),
        ]
        quotient = Signal(bits)
        for bit in reversed(range(bits)):
            multiple = self.slot_period << bit
            enough = Signal(name=f"enough_{bit}")
            m.d.comb += enough.eq(rest >= multiple)
            next_valid = Signal(name=f"valid_{bit}")
            next_suppressed = Signal(name=f"suppressed_{bit}")
            next_rest = Signal(25, name=f"rest_{bit}")
            next_quotient = Signal(bits, name=f"quotient_{bit}")
            m.d.sync += [
                next_valid.eq(valid),
                next_suppressed.eq(suppressed),
                next_rest.eq(rest - Mux(enough, multiple, 0)),
                next_quotient.eq(quotient | (enough << bit)),
            ]
            valid, suppressed = next_valid, next_suppressed
            rest, quotient = next_rest, next_quotient
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.suppressed.eq(suppressed),
            self.o.delta.eq(quotient),
            self.o.pos.eq(rest),
        ]
        return m
