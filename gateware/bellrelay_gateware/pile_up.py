"""One tag per clock period and channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import fine_width, tag_layout

__all__ = ["PileUp"]


class PileUp(wiring.Component):
    """Drops a tag less than a clock period after the last one that passed.

    Only the cell after a passed tag can hold such a tag: one whose fine time is the smaller.

    Members
    -------
    restart : In(1), this clock is cell 0: nothing passed before
    i, o : tag in and out, 1 clock later
    dropped : Out(1), of the same cell as ``o``
    """

    LATENCY = 1

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "restart": In(1),
                "i": In(tag_layout(geometry)),
                "o": Out(tag_layout(geometry)),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        drop = Signal()
        limit = Signal(fine_width(self.geometry))  # 0 unless a tag passed in the cell before
        m.d.comb += drop.eq(self.i.valid & ~self.restart & (self.i.fine < limit))
        m.d.sync += [
            limit.eq(Mux(self.i.valid & ~drop, self.i.fine, 0)),
            self.o.valid.eq(self.i.valid & ~drop),
            self.o.fine.eq(self.i.fine),
            self.dropped.eq(drop),
        ]
        return m
