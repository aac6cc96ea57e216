"""Reads a bank of records ahead, so that the first ones wait in registers."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BankReader"]

_AHEAD = 7
"""Records under way or waiting: taken one per clock, a place is filled again six clocks later."""


class BankReader(wiring.Component):
    """A queue of the records of a bank, in the order of their addresses.

    Parameters
    ----------
    depth
        Largest number of records in a bank.
    width
        Bits of a record.

    Members
    -------
    cut : In(1), count : In
        The bank to read from now on holds so many records; what was queued is forgotten.
    addr : Out, data : In
        To the memory; latency one clock. The first reading is two clocks after ``cut``.
    valid : Out(1), head : Out, take : In(1)
        The queue's first record; with ``take`` the next one follows in the clock after. The first
        one is there 6 clocks after ``cut``, and from 9 clocks after on one can be taken per clock.
    """

    def __init__(self, depth: int, width: int) -> None:
        if depth < 1:
            raise ValueError(f"depth is {depth}; allowed: at least 1")
        if width < 1:
            raise ValueError(f"width is {width}; allowed: at least 1")
        super().__init__(
            {
                "cut": In(1),
                "count": In(range(depth + 1)),
                "addr": Out(range(max(depth, 2))),
                "data": In(width),
                "valid": Out(1),
                "head": Out(width),
                "take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal.like(self.count)
        more = Signal()
        owed = Signal(range(_AHEAD + 1))
        reading, arriving, arrived = Signal(), Signal(), Signal()
        record = Signal.like(self.data)
        # Who takes the head looks at several readers first: the queue moves a clock later, and
        # until then the second one is the head.
        leaves = Signal()
        m.d.comb += reading.eq(more & (owed != _AHEAD))
        m.d.sync += [
            self.addr.eq(self.addr + reading),
            left.eq(left - reading),
            more.eq(Mux(reading, left > 1, left != 0)),
            owed.eq(owed + reading - leaves),
            leaves.eq(self.take),
            arriving.eq(reading),
            arrived.eq(arriving),
            record.eq(self.data),
        ]

        queue = [Signal.like(self.data, name=f"queue_{i}") for i in range(_AHEAD)]
        there = [Signal(name=f"there_{i}") for i in range(_AHEAD)]
        m.d.comb += [
            self.valid.eq(Mux(leaves, there[1], there[0])),
            self.head.eq(Mux(leaves, queue[1], queue[0])),
        ]
        for i in range(_AHEAD):
            last = i == _AHEAD - 1
            stays, before = Signal(name=f"stays_{i}"), Signal(name=f"before_{i}")
            m.d.comb += [
                stays.eq(Mux(leaves, 0 if last else there[i + 1], there[i])),
                before.eq(1 if i == 0 else Mux(leaves, there[i], there[i - 1])),
            ]
            m.d.sync += there[i].eq(stays | (arrived & before))
            with m.If(~stays):
                m.d.sync += queue[i].eq(record)
            with m.Elif(leaves):
                m.d.sync += queue[i].eq(record if last else queue[i + 1])

        with m.If(self.cut):
            m.d.sync += [
                self.addr.eq(0),
                left.eq(self.count),
                more.eq(0),
                owed.eq(0),
                leaves.eq(0),
                arriving.eq(0),
                arrived.eq(0),
                *(one.eq(0) for one in there),
            ]
        return m
