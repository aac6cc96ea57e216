"""Front end for tapped delay lines."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .front_end import hits_layout

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
        groups = -(-n_taps // 8)
        self.latency = 1 + (groups - 1).bit_length()
        super().__init__(
            {
                "taps": In(data.ArrayLayout(n_taps, geometry.n_channels)),
                "hits": Out(hits_layout(geometry)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for channel in range(self.geometry.n_channels):
            taps = Value.cast(self.taps[channel])
            before = Signal(name=f"before_{channel}")
            m.d.sync += before.eq(taps[0])
            hit: Value = taps[0] & ~before
            sums: list[Value] = [
                sum((bit for bit in taps[i : i + 8]), Const(0)) for i in range(0, self.n_taps, 8)
            ]
            for stage in range(self.latency):
                if stage:
                    sums = [
                        sums[i] + sums[i + 1] if i + 1 < len(sums) else sums[i]
                        for i in range(0, len(sums), 2)
                    ]
                registers = [
                    Signal.like(value, name=f"sum_{channel}_{stage}_{i}")
                    for i, value in enumerate(sums)
                ]
                m.d.sync += [r.eq(s) for r, s in zip(registers, sums, strict=True)]
                passed = Signal(name=f"hit_{channel}_{stage}")
                m.d.sync += passed.eq(hit)
                hit, sums = passed, list(registers)
            (ones,) = sums
            m.d.comb += [
                self.hits[channel].hit.eq(hit),
                self.hits[channel].code.eq(self.n_taps - ones),
            ]
        return m
