"""The two windows of a slot."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import delta_width, located_layout

__all__ = ["Gate", "gated_layout"]


def gated_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A click in a window: slot relative to the cell's open slot, and which window."""
    return data.StructLayout({"early": 1, "late": 1, "delta": delta_width(geometry)})


class Gate(wiring.Component):
    """Sorts the kept clicks of one detector into early, late and outside.

    Members
    -------
    early_start, early_end, late_start, late_end : In(25), half open, picoseconds in the slot
    i : In, located tag
    o : Out, :func:`gated_layout`, 1 clock later; neither bit is set without a kept click inside
    outside : Out(1), of the same cell: a kept click in no window
    """

    LATENCY = 1

    def __init__(self, geometry: BoardGeometry) -> None:
        super().__init__(
            {
                "early_start": In(25),
                "early_end": In(25),
                "late_start": In(25),
                "late_end": In(25),
                "i": In(located_layout(geometry)),
                "o": Out(gated_layout(geometry)),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept, early, late = Signal(), Signal(), Signal()
        pos = self.i.pos
        m.d.comb += [
            kept.eq(self.i.valid & ~self.i.suppressed),
            early.eq((pos >= self.early_start) & (pos < self.early_end)),
            late.eq((pos >= self.late_start) & (pos < self.late_end) & ~early),
        ]
        m.d.sync += [
            self.o.early.eq(kept & early),
            self.o.late.eq(kept & late),
            self.o.delta.eq(self.i.delta),
            self.outside.eq(kept & ~early & ~late),
        ]
        return m
