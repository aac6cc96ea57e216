"""Dead time of one detector."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import suppressed_layout, tag_layout

__all__ = ["DeadTime"]


class DeadTime(wiring.Component):
    """Marks clicks that come less than the dead time after the click that began it.

    The state is ``remaining``: for how many picoseconds from the cell's start on the detector is
    dead. It works on the raw axis; because deskew shifts a channel as a whole, that is the same
    as on the deskewed one.

    Members
    -------
    restart : In(1), this clock is cell 0: the detector is ready at its start
    active : In(1), this clock is a cell of an acquisition
    dead_time : In(31), picoseconds
    extend : In(1), every click begins a dead time, suppressed or not
    i : In, tag
    o : Out, the tag with its mark ``suppressed``, 2 clocks later
    dead : Out(1), of the same cell as ``o``: its start lies strictly inside a dead interval
    """

    LATENCY = 2

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "restart": In(1),
                "active": In(1),
                "dead_time": In(31),
                "extend": In(1),
                "i": In(tag_layout(geometry)),
                "o": Out(suppressed_layout(geometry)),
                "dead": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        period = self.geometry.clock_period_ps

        # 1: what would be left at the cell's end if this tag began a dead time.
        tag = Signal.like(self.i)
        active = Signal()
        ends = Signal(signed(33))
        reload = Signal(32)
        m.d.comb += ends.eq(self.i.fine + self.dead_time - period)
        m.d.sync += [
            tag.eq(self.i),
            active.eq(self.active),
            reload.eq(Mux(ends < 0, 0, ends)),
        ]

        # 2: whether it does.
        remaining = Signal(32)
        left = Signal(signed(33))
        suppressed, begins = Signal(), Signal()
        m.d.comb += [
            left.eq(remaining - period),
            suppressed.eq(tag.fine < remaining),
            begins.eq(tag.valid & (self.extend | ~suppressed)),
        ]
        with m.If(self.restart):
            m.d.sync += remaining.eq(0)
        with m.Else():
            m.d.sync += remaining.eq(Mux(begins, reload, Mux(left < 0, 0, left)))
        m.d.sync += [
            self.o.valid.eq(tag.valid),
            self.o.suppressed.eq(suppressed),
            self.o.fine.eq(tag.fine),
            self.dead.eq(active & (remaining != 0)),
        ]
        return m
