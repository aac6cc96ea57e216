"""From sampled delay lines to hits of cells."""

from __future__ import annotations

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import DelayLine
from .front_end import hits_layout
from .half_rate import HalfRate
from .ones_counter import OnesCounter

__all__ = ["TapTiming"]


class TapTiming(wiring.Component):
    """Ones counters in domain ``tag``, hits in domain ``sync``.

    A pulse runs along the line from tap 0 on. Tap 0 alone says whether it has come, and the number
    of taps that it has *not* passed is the fine code, which grows with the arrival time. Taps out
    of order (bubbles) do not matter to a sum. An edge that tap 0 just misses is one of the next
    clock with the lowest codes, one that it just catches one of this clock with the highest: the
    clock and the fine code come from the same sample, and disagree by no more than a bin.

    A pulse must be high for a clock of ``tag`` at least, and low for as long as the line is before
    it. One that comes sooner may find the one before still in the line, and its code would be
    wrong. This shows one clock earlier: a pulse that fills a clock, is past tap 0 and is still in
    the line one clock later covers the end of the line's first third, whatever the taps' delays, if
    the line is no longer than a clock and a half. Such an edge is dropped and told to be counted.

    Parameters
    ----------
    geometry
        Of the cells (domain ``sync``); ``code_bits`` is one more than the fine code's.
    n_taps
        Taps per channel, 2 to ``2**(code_bits - 1) - 1``.

    Members
    -------
    taps : In, ``n_channels`` x ``n_taps`` bits, ``tag``
    hits : Out, :func:`~.front_end.hits_layout`, ``sync``
    dropped : Out(n_channels), ``sync``, strobes: a second hit in the cell, or one too soon after
        the last pulse

    Of a cell's two samples, the last one is ``tag_latency`` clocks of ``tag`` and then
    ``HalfRate.LATENCY`` clocks of ``sync`` ago; which half the first sample is depends on
    ``tag_latency``, alike for all channels.
    """

    def __init__(self, geometry: BoardGeometry, n_taps: int) -> None:
        highest = (1 << (geometry.code_bits - 1)) - 1
        if not 2 <= n_taps <= highest:
            raise ValueError(f"n_taps is {n_taps!r}; allowed: 2 to {highest}")
        self.geometry = geometry
        self.n_taps = n_taps
        self._counters = [OnesCounter(n_taps) for _ in range(geometry.n_channels)]
        self.tag_latency = self._counters[0].latency
        super().__init__(
            {
                "taps": In(data.ArrayLayout(n_taps, geometry.n_channels)),
                "hits": Out(hits_layout(geometry)),
                "dropped": Out(geometry.n_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.half_rate = half_rate = HalfRate(self.geometry)
        m.d.comb += self.hits.eq(half_rate.hits)
        in_tag = DomainRenamer("tag")
        for channel, counter in enumerate(self._counters):
            taps = self.taps[channel]
            m.submodules[f"ones_{channel}"] = in_tag(counter)
            found = DelayLine(2, self.tag_latency)
            m.submodules[f"found_{channel}"] = in_tag(found)
            before, occupied = Signal(name=f"before_{channel}"), Signal(name=f"occupied_{channel}")
            m.d.tag += [before.eq(taps[0]), occupied.eq(taps[self.n_taps // 3])]
            begins = taps[0] & ~before
            # A strobe of `tag` has one chance in two to be seen in `sync`: it is held for two.
            soon, soon_before = Signal(name=f"soon_{channel}"), Signal(name=f"late_{channel}")
            too_soon = Signal(name=f"too_soon_{channel}")
            m.d.tag += [soon.eq(found.o[1]), soon_before.eq(soon)]
            m.d.sync += too_soon.eq(soon | soon_before)
            fast = half_rate.fast[channel]
            m.d.comb += [
                counter.bits.eq(~taps),
                found.i[0].eq(begins & ~occupied),
                found.i[1].eq(begins & occupied),
                fast.hit.eq(found.o[0]),
                fast.code.eq(counter.count),
                self.dropped[channel].eq(half_rate.second[channel] | too_soon),
            ]
        return m
