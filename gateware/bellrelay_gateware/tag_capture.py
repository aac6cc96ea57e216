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
    start : In(1), flush : In(1)
        ``start``: the tag of this clock is the first one of a tick. With ``flush`` the banks change
        places before it.
    half : Out(1)
        The bank is at or above half of its depth with the tags up to the clock before.
    lost : Out(1)
        The tag of this clock found the bank full.
    count : Out
        Tags in the bank to read, from the clock after ``start`` on; 0 if there was no flush.
    read_addr : In, read_data : Out(56)
        Latency two clocks.
    """

    def __init__(self, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; allowed: a power of two from 2")
        self._depth = depth
        super().__init__(
            {
                "tag": In(data.StructLayout({"valid": 1, "time": 56})),
                "start": In(1),
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
        m.submodules.tags = memory = Memory(
            shape=56, depth=2 * self._depth, init=[], attrs={"no_rw_check": 1}
        )
        write, read = memory.write_port(), memory.read_port()
        bank = Signal()
        level = Signal(range(self._depth + 1))
        after = Signal.like(level)
        full, near_full, near_half = Signal(), Signal(), Signal()
        swap, keeps = Signal(), Signal()
        m.d.comb += [
            swap.eq(self.start & self.flush),
            # As long as the banks do not change places: `swap` comes late, and has the last word.
            keeps.eq(self.tag.valid & ~full),
            write.en.eq(self.tag.valid & (~full | swap)),
            write.addr.eq(Cat(Mux(swap, 0, level[: len(read.addr) - 1]), bank ^ swap)),
            write.data.eq(self.tag.time),
            self.lost.eq(self.tag.valid & full & ~swap),
            after.eq(level + keeps),
            read.addr.eq(Cat(self.read_addr, ~bank)),
        ]
        m.d.sync += [
            self.read_data.eq(read.data),
            level.eq(after),
            full.eq(full | (near_full & keeps)),
            near_full.eq(after == self._depth - 1),
            near_half.eq(after == self._depth // 2 - 1),
            self.half.eq(self.half | (near_half & keeps)),
        ]
        with m.If(self.start):
            m.d.sync += self.count.eq(Mux(self.flush, level, 0))
        with m.If(swap):
            one = self._depth // 2 == 1
            m.d.sync += [
                bank.eq(~bank),
                level.eq(self.tag.valid),
                full.eq(0),
                near_full.eq(self.tag.valid if self._depth == 2 else 0),
                near_half.eq(~self.tag.valid if one else self.tag.valid if self._depth == 4 else 0),
                self.half.eq(self.tag.valid if one else 0),
            ]
        return m
