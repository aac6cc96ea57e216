"""From a fine code to picoseconds."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .front_end import hits_layout
from .tag import fine_width, tag_layout

__all__ = ["FineLookup", "linear_fine_table"]


def linear_fine_table(geometry: BoardGeometry) -> list[int]:
    """Content of one channel's table as built: all codes equally wide."""
    return [
        (code * geometry.clock_period_ps) >> geometry.code_bits
        for code in range(1 << geometry.code_bits)
    ]


class FineLookup(wiring.Component):
    """One table per channel, written by the host.

    Members
    -------
    hits : In, :func:`~.front_end.hits_layout`
    accept : In(1), hits of this clock count
    tags : Out, per channel :func:`~.tag.tag_layout`, 2 clocks later
    write : In, ``{en, addr, data}``, channel-major address
    read_addr, read_data : the same addresses, for the host, 2 clocks later
    """

    LATENCY = 2

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        addr = ((g.n_channels << g.code_bits) - 1).bit_length()
        fine = fine_width(g)
        super().__init__(
            {
                "hits": In(hits_layout(g)),
                "accept": In(1),
                "tags": Out(data.ArrayLayout(tag_layout(g), g.n_channels)),
                "write": In(data.StructLayout({"en": 1, "addr": addr, "data": fine})),
                "read_addr": In(addr),
                "read_data": Out(fine),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        read = []
        bits = g.code_bits
        for channel in range(g.n_channels):
            table = Memory(shape=fine_width(g), depth=1 << g.code_bits, init=linear_fine_table(g))
            m.submodules[f"table_{channel}"] = table
            lookup, back = table.read_port(), table.read_port()
            write = table.write_port()
            read.append(back.data)
            hit = Signal(name=f"hit_{channel}")
            m.d.sync += [
                hit.eq(self.hits[channel].hit & self.accept),
                self.tags[channel].valid.eq(hit),
                self.tags[channel].fine.eq(lookup.data),
            ]
            m.d.comb += [
                lookup.addr.eq(self.hits[channel].code),
                back.addr.eq(self.read_addr[:bits]),
                write.addr.eq(self.write.addr[:bits]),
                write.data.eq(self.write.data),
                write.en.eq(self.write.en & (self.write.addr[bits:] == channel)),
            ]
        chosen = Signal(range(g.n_channels))
        m.d.sync += [
            chosen.eq(self.read_addr[bits:]),
            self.read_data.eq(Array(read)[chosen]),
        ]
        return m
