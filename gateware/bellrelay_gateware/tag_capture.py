"""Raw tags of one channel between two flushes, in two banks."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["TagCapture"]


class TagCapture(wiring.Component):
    """Fills one bank while the other one is read; one tag per clock.

    Members
    -------
    tag : In({valid, time: 56})
        After the stream mask.
    cut : In(1), flush : In(1)
        ``cut``: the tag of this clock is the last one of a tick. With ``flush`` the banks change
        places, this tag still going to the old one.
    half : Out(1)
        With the tag of this clock, the bank is at or above half of its depth. Combinational.
    lost : Out(1)
        The tag of this clock found the bank full.
    count : Out
        Tags in the bank to read; 0 after a cut without flush.
    read_addr : In, read_data : Out(56)
        Latency one clock.
    """

    def __init__(self, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; allowed: a power of two from 2")
        self._depth = depth
        super().__init__(
            {
                "tag": In(data.StructLayout({"valid": 1, "time": 56})),
                "cut": In(1),
                "flush": In(1),
                "half": Out(1),
                "lost": Out(1),
                "count": Out(range(depth + 1)),
                "read_addr": In(range(depth)),
                "read_data": Out(56),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tags = memory = Memory(shape=56, depth=2 * self._depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        bank = Signal()
        level = Signal(range(self._depth + 1))
        after = Signal.like(level)
        full = level == self._depth
        m.d.comb += [
            write.en.eq(self.tag.valid & ~full),
            write.addr.eq(Cat(level[: len(read.addr) - 1], bank)),
            write.data.eq(self.tag.time),
            self.lost.eq(self.tag.valid & full),
            after.eq(level + write.en),
            self.half.eq(after >= self._depth // 2),
            read.addr.eq(Cat(self.read_addr, ~bank)),
            self.read_data.eq(read.data),
        ]
        m.d.sync += level.eq(after)
        with m.If(self.cut):
            m.d.sync += self.count.eq(Mux(self.flush, after, 0))
            with m.If(self.flush):
                m.d.sync += [bank.eq(~bank), level.eq(0)]
        return m
