"""Front end for tapped delay lines."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed
from .front_end import hits_layout
from .ones_counter import OnesCounter

__all__ = ["TapFrontEnd"]


class TapFrontEnd(wiring.Component):
    """Ones counters over sampled delay lines.

    A pulse runs along the line from tap 0 on, so that a sample has as many ones as taps were
    passed. Counting them instead of looking for the edge makes bubbles (taps out of order)
    harmless. The code is ``n_taps - ones``: it grows with the arrival time. A hit is a tap 0 that
    is set after a sample in which it was not; the pulse must be stretched to at least one clock,
    and to be seen it must have been low for one sample.

    Parameters
    ----------
    geometry
        For channels and ``code_bits``.
    n_taps
        Taps per channel, 2 to ``2**code_bits``.

    Members
    -------
    taps : In, ``n_channels`` x ``n_taps`` bits, sampled by the tagging clock
    hits : Out, :func:`~.front_end.hits_layout`

    Latency is ``latency`` clocks; one sample per clock.
    """

    def __init__(self, geometry: BoardGeometry, n_taps: int) -> None:
        if not 2 <= n_taps <= 1 << geometry.code_bits:
            raise ValueError(f"n_taps is {n_taps!r}; allowed: 2 to {1 << geometry.code_bits}")
        self.geometry = geometry
        self.n_taps = n_taps
        self._counters = [OnesCounter(n_taps) for _ in range(geometry.n_channels)]
        self.latency = self._counters[0].latency
        super().__init__(
            {
                "taps": In(data.ArrayLayout(n_taps, geometry.n_channels)),
                "hits": Out(hits_layout(geometry)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for channel, counter in enumerate(self._counters):
            m.submodules[f"ones_{channel}"] = counter
            taps = self.taps[channel]
            before = Signal(name=f"before_{channel}")
            m.d.sync += before.eq(taps[0])
            hit = delayed(m, taps[0] & ~before, self.latency, f"hit_{channel}")
            m.d.comb += [
                counter.bits.eq(taps),
                self.hits[channel].hit.eq(hit),
                self.hits[channel].code.eq(self.n_taps - counter.count),
            ]
        return m
