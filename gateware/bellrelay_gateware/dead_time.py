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
    restart : In(1), this clock is cell 0: the detector is ready
    active : In(1), this clock is a cell of an acquisition
    dead_time : In(31), picoseconds
    extend : In(1), every click begins a dead time, suppressed or not
    i : In, tag
    o : Out, the tag with its mark ``suppressed``, 1 clock later
    dead : Out(1), of the same cell as ``o``: its start lies strictly inside a dead interval
    """

    LATENCY = 1

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
        state = Signal(32)
        remaining = Signal(32)
        suppressed = Signal()
        begins = Signal()
        left = Signal(signed(34))
        m.d.comb += [
            remaining.eq(Mux(self.restart, 0, state)),
            suppressed.eq(self.i.fine < remaining),
            begins.eq(self.i.valid & (self.extend | ~suppressed)),
            left.eq(
                Mux(begins, self.i.fine + self.dead_time, remaining) - self.geometry.clock_period_ps
            ),
        ]
        m.d.sync += [
            state.eq(Mux(left < 0, 0, left)),
            self.o.valid.eq(self.i.valid),
            self.o.suppressed.eq(suppressed),
            self.o.fine.eq(self.i.fine),
            self.dead.eq(self.active & (remaining != 0)),
        ]
        return m
