"""From a fine code to picoseconds."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed
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
    """Two tables per channel: one in use, one that a calibration writes meanwhile.

    ``swap`` changes them over between two clocks. The bank is part of the address of the one read
    that a hit makes, so that a hit has its time from one table or from the other, and none waits.

    Members
    -------
    hits : In, :func:`~.front_end.hits_layout`
    accept : In(1), hits of this clock count
    tags : Out, per channel :func:`~.tag.tag_layout`, ``LATENCY`` clocks later
    write : In, ``{en, addr, data}``, channel-major address: to the table in use, by the host; a hit
        of the same code in the same clock has any time
    load : In, the same to the table not in use, taken in a clock with ``load_ready``
    load_ready : Out(1), the host does not write in this clock
    swap : In(n_channels), strobe per channel: hits of the next clock have the other table
    read_addr, read_data : the table in use, for the host, ``READ_LATENCY`` clocks later

    What the memories answer goes straight to registers: block memories are slow.
    """

    LATENCY = 2
    READ_LATENCY = 3

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
                "load": In(data.StructLayout({"en": 1, "addr": addr, "data": fine})),
                "load_ready": Out(1),
                "swap": In(g.n_channels),
                "read_addr": In(addr),
                "read_data": Out(fine),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        read = []
        bits = g.code_bits
        m.d.comb += self.load_ready.eq(~self.write.en)
        addr = Mux(self.write.en, self.write.addr, self.load.addr)
        value = Mux(self.write.en, self.write.data, self.load.data)
        banks = Signal(g.n_channels)  # the one in use
        m.d.sync += banks.eq(banks ^ self.swap)
        for channel in range(g.n_channels):
            # A block memory has no answer for an address that is being written, and giving it one
            # takes logic behind it. A calibration writes the other bank, the host when hits do not
            # count: nobody asks.
            table = Memory(
                shape=fine_width(g),
                depth=2 << g.code_bits,
                init=linear_fine_table(g) * 2,
                attrs={"no_rw_check": 1},
            )
            m.submodules[f"table_{channel}"] = table
            lookup, back = table.read_port(), table.read_port()
            write = table.write_port()
            kept = Signal(fine_width(g), name=f"kept_{channel}", reset_less=True)
            m.d.sync += kept.eq(back.data)
            read.append(kept)
            hit, valid = Signal(name=f"hit_{channel}"), Signal(name=f"valid_{channel}")
            # Without a reset: that would be a gate between the memory and the register.
            fine = Signal(fine_width(g), name=f"fine_{channel}", reset_less=True)
            bank = banks[channel]
            m.d.sync += [
                hit.eq(self.hits[channel].hit & self.accept),
                valid.eq(hit),
                fine.eq(lookup.data),
            ]
            m.d.comb += [
                self.tags[channel].valid.eq(valid),
                self.tags[channel].fine.eq(fine),
                lookup.addr.eq(Cat(self.hits[channel].code, bank)),
                back.addr.eq(Cat(self.read_addr[:bits], bank)),
                write.addr.eq(Cat(addr[:bits], bank ^ ~self.write.en)),
                write.data.eq(value),
                write.en.eq((self.write.en | self.load.en) & (addr[bits:] == channel)),
            ]
        chosen = delayed(m, self.read_addr[bits:], self.READ_LATENCY - 1, "chosen")
        m.d.sync += self.read_data.eq(Array(read)[chosen])
        return m
