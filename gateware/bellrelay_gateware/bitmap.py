"""Collects the clicks of a slot."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .gate import gated_layout
from .tag import delta_width, marker_layout

__all__ = ["Bitmap", "closed_layout"]


def closed_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A closed slot: relative to the cell's open slot, its bits, and its multi mark."""
    return data.StructLayout(
        {"valid": 1, "delta": delta_width(geometry), "bits": geometry.n_cells, "multi": 1}
    )


class Bitmap(wiring.Component):
    """Gives out every slot with a click once, in the cell in which it closes.

    Lane 0 is the slot that was open at the cell's start, if it closes. A slot that opens and
    closes within the cell comes out on the lane ``1 + d`` of its lowest detector ``d``: one cell
    holds one tag of a detector, so no lane is needed twice, and no bit of such a slot is hit twice.

    Members
    -------
    marker, slots : In, of the cell; ``slots`` that close in it
    i : In, per detector a gated click
    o : Out, per lane :func:`closed_layout`, 1 clock later; ``valid`` only with a click
    """

    LATENCY = 1

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        super().__init__(
            {
                "marker": In(marker_layout()),
                "slots": In(delta_width(g)),
                "i": In(data.ArrayLayout(gated_layout(g), g.n_detectors)),
                "o": Out(data.ArrayLayout(closed_layout(g), 1 + g.n_detectors)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        n, cells = g.n_detectors, g.n_cells

        lanes = []  # bits that each detector sets, wherever
        for d in range(n):
            lane = Signal(cells, name=f"lane_{d}")
            m.d.comb += [lane[d].eq(self.i[d].early), lane[n + d].eq(self.i[d].late)]
            lanes.append(lane)

        def gathered(name: str, chosen: list[object]) -> Signal:
            out = Signal(cells, name=name)
            value = 0
            for lane, choice in zip(lanes, chosen, strict=True):
                value = value | Mux(choice, lane, 0)
            m.d.comb += out.eq(value)
            return out

        first = gathered("first", [self.i[d].delta == 0 for d in range(n)])
        newest = gathered("newest", [self.i[d].delta == self.slots for d in range(n)])

        state, state_multi = Signal(cells), Signal()
        bits, bits_before, multi = Signal(cells), Signal(cells), Signal()
        m.d.comb += [
            bits_before.eq(Mux(self.marker.start, 0, state)),
            bits.eq(bits_before | first),
            multi.eq((state_multi & ~self.marker.start) | (bits_before & first).any()),
        ]
        closes = self.slots != 0
        with m.If(self.marker.active):
            m.d.sync += [
                state.eq(Mux(closes, newest, bits)),
                state_multi.eq(multi & ~closes),
            ]
        m.d.sync += [
            self.o[0].valid.eq(self.marker.active & closes & bits.any()),
            self.o[0].delta.eq(0),
            self.o[0].bits.eq(bits),
            self.o[0].multi.eq(multi),
        ]
        for d in range(n):
            delta = self.i[d].delta
            same = [self.i[k].delta == delta for k in range(n)]
            group = gathered(f"group_{d}", same)
            led = Cat((self.i[k].delta == delta) & lanes[k].any() for k in range(d)).any()
            m.d.sync += [
                self.o[1 + d].valid.eq(
                    self.marker.active & lanes[d].any() & (delta != 0) & (delta < self.slots) & ~led
                ),
                self.o[1 + d].delta.eq(delta),
                self.o[1 + d].bits.eq(group),
                self.o[1 + d].multi.eq(0),
            ]
        return m
