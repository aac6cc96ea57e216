"""Histogram of fine codes, and the table of times that follows from it."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import fine_width

__all__ = ["CodeDensity", "load_layout"]

_WIDEST_SHARE_LOG2 = 3


def load_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A write to the bank of a fine table that is not in use; channel-major address."""
    addr = ((geometry.n_channels << geometry.code_bits) - 1).bit_length()
    return data.StructLayout({"en": 1, "addr": addr, "data": fine_width(geometry)})


class CodeDensity(wiring.Component):
    """One channel at a time: clear, count ``2**samples_log2`` codes, write the times.

    Pulses that know nothing of the clock fall evenly on its period. With ``n[c]`` counts of fine
    code ``c``, ``below`` the counts of all lower codes, ``P`` the period of ``tag`` (half a cell)
    and ``k = samples_log2``, a code's time is the middle of what it stands for,

        time[c] = min(floor((2 below + n[c]) P / 2**(k + 1)), P - 1)

    exactly, as :func:`bellrelay.tags.linearity.code_times_ps` has it. ``time[c]`` goes to the fine
    code in the first half of a cell, ``P + time[c]`` to that in the second one.

    A run fails, and writes nothing, if no pulse comes for ``timeout_clocks``, or if one code takes
    more than an eighth of all: no line is that uneven, so that it is broken or the pulses follow
    the clock. Counts stay readable either way.

    Parameters
    ----------
    geometry
        Of the cells; ``clock_period_ps`` even, ``code_bits`` from 4.
    samples_log2
        6 to 24. The error of a time from counting is at most ``P / 2**(samples_log2/2 + 1)`` RMS.
    timeout_clocks
        From 16.

    Members
    -------
    channel : In(range(n_channels)); held from ``start`` to ``done``
    start : In(1), strobe
    hit : In(1), code : In(code_bits); the half is ignored. One hit in four clocks is taken: which
        one does not depend on its own code.
    collected : Out(1), strobe: no more hits are wanted
    done : Out(1), strobe; failed : Out(1), valid with it
    load : Out, :func:`load_layout`; load_ready : In(1)
    read_addr : In, ``channel << (code_bits - 1) | fine code``
    read_count : Out(samples_log2 + 1), read_time : Out, ps in the clock of ``tag``; 2 clocks later,
        and right between ``done`` and ``start``
    look_addr, look_time : likewise, for the calibrator

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    READ_LATENCY = 2

    def __init__(
        self, geometry: BoardGeometry, *, samples_log2: int = 20, timeout_clocks: int = 1 << 16
    ) -> None:
        g = geometry
        if g.clock_period_ps % 2:
            raise ValueError(f"clock_period_ps is {g.clock_period_ps!r}; allowed: even")
        if g.code_bits < 4:
            raise ValueError(f"code_bits is {g.code_bits!r}; allowed: from 4")
        if not 6 <= samples_log2 <= 24:
            raise ValueError(f"samples_log2 is {samples_log2!r}; allowed: 6 to 24")
        if timeout_clocks < 16:
            raise ValueError(f"timeout_clocks is {timeout_clocks!r}; allowed: from 16")
        self.geometry = geometry
        self.samples_log2 = samples_log2
        self.timeout_clocks = timeout_clocks
        self.period_ps = g.clock_period_ps // 2
        self._depth = g.n_channels << (g.code_bits - 1)
        addr, time = range(self._depth), range(self.period_ps)
        super().__init__(
            {
                "channel": In(range(g.n_channels)),
                "start": In(1),
                "hit": In(1),
                "code": In(g.code_bits),
                "collected": Out(1),
                "done": Out(1),
                "failed": Out(1),
                "load": Out(load_layout(g)),
                "load_ready": In(1),
                "read_addr": In(addr),
                "read_count": Out(samples_log2 + 1),
                "read_time": Out(time),
                "look_addr": In(addr),
                "look_time": Out(time),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g, k, period = self.geometry, self.samples_log2, self.period_ps
        fine_bits = g.code_bits - 1
        # What is read in the clock of a write is not used: no logic for that behind the memories.
        kind = {"depth": self._depth, "init": [], "attrs": {"no_rw_check": 1}}
        m.submodules.counts = counts = Memory(shape=k + 1, **kind)
        m.submodules.times = times = Memory(shape=range(period), **kind)
        count_write, time_write = counts.write_port(), times.write_port()
        count_read, time_read = counts.read_port(), times.read_port()
        own_read, look_read = counts.read_port(), times.read_port()
        m.d.comb += [
            count_read.addr.eq(self.read_addr),
            time_read.addr.eq(self.read_addr),
            look_read.addr.eq(self.look_addr),
        ]
        m.d.sync += [
            self.read_count.eq(count_read.data),
            self.read_time.eq(time_read.data),
            self.look_time.eq(look_read.data),
        ]

        code = Signal(fine_bits)
        place = Cat(code, self.channel)
        own = Signal(k + 1)
        total = Signal(k + 1)
        too_wide = Signal()
        quiet = Signal(range(self.timeout_clocks))
        # below * 2P up to this code; own count times P, built bit by bit of P
        width = k + 1 + period.bit_length()
        below, product, addend = Signal(width), Signal(width), Signal(width)
        factor = Signal(period.bit_length())
        middle = Signal(range(period + 1))
        time = Signal(range(period))
        second_half = Signal()
        m.d.sync += own.eq(own_read.data)
        m.d.comb += [
            own_read.addr.eq(place),
            count_write.addr.eq(place),
            time_write.addr.eq(place),
            time_write.data.eq(time),
            self.load.addr.eq(Cat(code, second_half, self.channel)),
            self.load.data.eq(Mux(second_half, period, 0) + time),
            middle.eq((below + product) >> (k + 1)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [code.eq(0), total.eq(0), too_wide.eq(0), quiet.eq(0)]
                with m.If(self.start):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += [count_write.data.eq(0), count_write.en.eq(1)]
                m.d.sync += code.eq(code + 1)
                with m.If(code == (1 << fine_bits) - 1):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [code.eq(self.code), quiet.eq(quiet + 1)]
                with m.If(self.hit):
                    m.d.sync += quiet.eq(0)
                    m.next = "READ"
                with m.Elif(quiet == self.timeout_clocks - 1):
                    m.d.comb += [self.collected.eq(1), self.done.eq(1), self.failed.eq(1)]
                    m.next = "IDLE"
            with m.State("READ"):
                m.next = "KEEP"
            with m.State("KEEP"):
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += [count_write.data.eq(own + 1), count_write.en.eq(1)]
                m.d.sync += total.eq(total + 1)
                with m.If(own == 1 << (k - _WIDEST_SHARE_LOG2)):
                    m.d.sync += too_wide.eq(1)
                m.next = "WAIT"
                with m.If(total == (1 << k) - 1):
                    m.d.comb += self.collected.eq(1)
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [code.eq(0), below.eq(0)]
                with m.If(too_wide):
                    m.d.comb += [self.done.eq(1), self.failed.eq(1)]
                    m.next = "IDLE"
                with m.Else():
                    m.next = "TIME_READ"
            with m.State("TIME_READ"):
                m.next = "TIME_KEEP"
            with m.State("TIME_KEEP"):
                m.next = "TIME_START"
            with m.State("TIME_START"):
                m.d.sync += [addend.eq(own), product.eq(0), factor.eq(Const(period))]
                m.next = "TIME_MULTIPLY"
            with m.State("TIME_MULTIPLY"):
                m.d.sync += [addend.eq(addend << 1), factor.eq(factor >> 1)]
                with m.If(factor[0]):
                    m.d.sync += product.eq(product + addend)
                with m.If(factor == 0):
                    m.next = "TIME"
            with m.State("TIME"):
                m.d.sync += [
                    time.eq(Mux(middle == period, period - 1, middle)),
                    below.eq(below + (product << 1)),
                    second_half.eq(0),
                ]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.load.en.eq(1), time_write.en.eq(1)]
                with m.If(self.load_ready):
                    m.d.sync += second_half.eq(1)
                    with m.If(second_half):
                        m.d.sync += code.eq(code + 1)
                        m.next = "TIME_READ"
                        with m.If(code == (1 << fine_bits) - 1):
                            m.d.comb += self.done.eq(1)
                            m.next = "IDLE"
        return m
