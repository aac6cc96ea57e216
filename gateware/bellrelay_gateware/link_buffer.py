"""Words of frames to bytes of the link.

Timing, exactly. A word that is pushed in clock ``k`` counts in ``level`` from clock ``k + 1`` on
and can be popped from clock ``k + 5`` on: a memory answers late in its clock, so what it says goes
into a register, and then waits in another, so that nothing of the link reaches the memory. The
serializer holds one popped word, which ``level`` no longer counts. It pops in a clock in which a
word can be popped and either it holds nothing, or the last byte of the word that it holds is taken
in this very clock. It offers the first byte (the lowest) in the clock after the pop. So a word that
meets an empty buffer and serializer leaves, at one byte per clock, in the clocks
``k + 6 .. k + 9``, and the words behind it follow without a gap.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["LinkBuffer"]


class LinkBuffer(wiring.Component):
    """FIFO of 32-bit words with a byte stream at its end; timing in the module's docstring.

    Members
    -------
    push : In(1), word : In(32)
        Only while ``level < depth``; the framer admits no more. A push beyond is ignored and sets
        ``overrun`` for good.
    level : Out, overrun : Out(1)
    link_out : Out(stream of bytes)
    """

    def __init__(self, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; allowed: a power of two from 2")
        self._depth = depth
        super().__init__(
            {
                "push": In(1),
                "word": In(32),
                "level": Out(range(depth + 1)),
                "overrun": Out(1),
                "link_out": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = memory = Memory(
            shape=32, depth=self._depth, init=[], attrs={"no_rw_check": 1}
        )
        write, read = memory.write_port(), memory.read_port()
        head, tail = Signal(range(self._depth)), Signal(range(self._depth))
        pop, taken, full = Signal(), Signal(), Signal()
        written, unread = Signal(), Signal(range(self._depth + 1))
        there = Signal()  # unread > 0
        fetch, arriving, arrived = Signal(), Signal(), Signal()
        out_of_memory = Signal(32)
        waiting, waits = Signal(32), Signal()
        shift, left = Signal(32), Signal(range(5))
        m.d.comb += [
            write.en.eq(self.push & ~full),
            write.addr.eq(tail),
            write.data.eq(self.word),
            read.addr.eq(head),
            fetch.eq(there & ~waits & ~arriving & ~arrived),
            self.link_out.valid.eq(left != 0),
            self.link_out.payload.eq(shift[:8]),
            taken.eq(self.link_out.valid & self.link_out.ready),
            pop.eq(waits & ((left == 0) | ((left == 1) & taken))),
        ]
        m.d.sync += [
            tail.eq(tail + write.en),
            head.eq(head + fetch),
            self.level.eq(self.level + write.en - pop),
            full.eq(~pop & (full | (write.en & (self.level == self._depth - 1)))),
            written.eq(write.en),
            unread.eq(unread + written - fetch),
            there.eq(written | Mux(fetch, unread > 1, unread != 0)),
            arriving.eq(fetch),
            arrived.eq(arriving),
            out_of_memory.eq(read.data),
            waits.eq(arrived | (waits & ~pop)),
        ]
        with m.If(arrived):
            m.d.sync += waiting.eq(out_of_memory)
        with m.If(self.push & ~write.en):
            m.d.sync += self.overrun.eq(1)
        with m.If(pop):
            m.d.sync += [shift.eq(waiting), left.eq(4)]
        with m.Elif(taken):
            m.d.sync += [shift.eq(shift >> 8), left.eq(left - 1)]
        return m
