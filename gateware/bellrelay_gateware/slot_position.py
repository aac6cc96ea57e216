"""Slot and position in the slot of one channel's tags."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import delta_width, located_layout, step_width, suppressed_layout

__all__ = ["SlotPosition", "located_latency"]


def located_latency(geometry: BoardGeometry) -> int:
    """Clocks from a tag in its cell to its slot."""
    return 1 + -(-delta_width(geometry) // 2)


class SlotPosition(wiring.Component):
    """Divides a tag's reference time by the slot period, two quotient bits per clock.

    Members
    -------
    slot_period : In
    position, step, last : In, of the tag's cell, as
        :class:`~bellrelay_gateware.slot_clock.SlotClock` gives them
    i : In, tag
    o : Out, :func:`~.tag.located_layout`, ``latency`` clocks later; one tag per clock
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        self.latency = located_latency(g)
        super().__init__(
            {
                "slot_period": In(24),
                "position": In(24),
                "step": In(step_width(g)),
                "last": In(25),
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
        inside = self.i.fine < self.step
        m.d.sync += [
            valid.eq(self.i.valid),
            suppressed.eq(self.i.suppressed),
            rest.eq(Mux(inside, self.position + self.i.fine, self.last)),
        ]
        thrice = Signal(26)
        m.d.sync += thrice.eq(self.slot_period + (self.slot_period << 1))
        multiples = {1: self.slot_period, 2: self.slot_period << 1, 3: thrice}
        quotient = Signal(bits)
        for low in reversed(range(0, bits, 2)):
            digits = range(1, min(4, 1 << (bits - low)))
            rests = {k: Signal(signed(28 + low), name=f"less_{low}_{k}") for k in digits}
            m.d.comb += [rests[k].eq(rest - (multiples[k] << low)) for k in digits]
            next_valid = Signal(name=f"valid_{low}")
            next_suppressed = Signal(name=f"suppressed_{low}")
            next_rest = Signal(25, name=f"rest_{low}")
            next_quotient = Signal(bits, name=f"quotient_{low}")
            m.d.sync += [next_valid.eq(valid), next_suppressed.eq(suppressed)]
            m.d.sync += [next_rest.eq(rest), next_quotient.eq(quotient)]
            for k in digits:
                with m.If(rests[k] >= 0):
                    m.d.sync += [next_rest.eq(rests[k]), next_quotient.eq(quotient | (k << low))]
            valid, suppressed = next_valid, next_suppressed
            rest, quotient = next_rest, next_quotient
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.suppressed.eq(suppressed),
            self.o.delta.eq(quotient),
            self.o.pos.eq(rest),
        ]
        return m
