"""Front end on input gearing: samples of the pin itself, four to a clock."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .front_end import hits_layout
from .half_rate import HalfRate

__all__ = ["SAMPLES", "GearedFrontEnd", "GearedInputs"]

SAMPLES = 4
"""Samples of a pin per clock of ``tag``."""


class GearedInputs(wiring.Component):
    """One ``IDDRX2F`` per pin of an ECP5.

    Needs the domain ``edge`` at twice the rate of ``tag`` on an edge clock of the pins' bank, with
    ``tag`` its half (CLKDIVF), and pins of the left or right banks that go nowhere else: not to a
    delay line either, nor through a multiplexer. Word alignment is left open: which of the four
    samples is the first is settled by the reset of both clocks, alike in all inputs of a bank.

    Parameters
    ----------
    n_channels
        From 1.

    Members
    -------
    pins : In(n_channels)
    samples : Out, ``n_channels`` x ``SAMPLES`` bits, ``tag``, earliest sample in bit 0
    """

    def __init__(self, n_channels: int) -> None:
        if n_channels < 1:
            raise ValueError(f"n_channels is {n_channels!r}; allowed: from 1")
        self.n_channels = n_channels
        super().__init__(
            {"pins": In(n_channels), "samples": Out(data.ArrayLayout(SAMPLES, n_channels))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for channel, samples in enumerate(self.samples):
            m.submodules[f"gear_{channel}"] = Instance(
                "IDDRX2F",
                i_D=self.pins[channel],
                i_ECLK=ClockSignal("edge"),
                i_SCLK=ClockSignal("tag"),
                i_RST=ResetSignal("tag", allow_reset_less=True),
                **{f"o_Q{i}": samples[i] for i in range(SAMPLES)},
            )
        return m


class GearedFrontEnd(wiring.Component):
    """Hits from samples of the pins: 1.25 ns at 200 MHz, 361 ps RMS at best, and no calibration.

    For boards without room for delay lines, or without a need. A hit is the first sample that is
    set after one that was not, in this clock or at the end of the one before. Samples are equally
    long, so that the fine table as built fits: a code is the middle of its sample.

    Parameters
    ----------
    geometry
        Of the cells (domain ``sync``, half the rate of ``tag``); ``code_bits`` from 4.

    Members
    -------
    samples : In, ``n_channels`` x ``SAMPLES`` bits, ``tag``, earliest sample in bit 0
    hits : Out, :func:`~.front_end.hits_layout`, ``sync``
    dropped : Out(n_channels), ``sync``, strobes: a second hit in the cell

    Latency is ``TAG_LATENCY`` clocks of ``tag`` and ``HalfRate.LATENCY`` of ``sync``. Several rises
    within one clock of ``tag`` are one hit.
    """

    TAG_LATENCY = 2

    def __init__(self, geometry: BoardGeometry) -> None:
        if geometry.code_bits < 4:
            raise ValueError(f"code_bits is {geometry.code_bits!r}; allowed: from 4")
        self.geometry = geometry
        super().__init__(
            {
                "samples": In(data.ArrayLayout(SAMPLES, geometry.n_channels)),
                "hits": Out(hits_layout(geometry)),
                "dropped": Out(geometry.n_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.half_rate = half_rate = HalfRate(self.geometry)
        m.d.comb += [self.hits.eq(half_rate.hits), self.dropped.eq(half_rate.second)]
        below = self.geometry.code_bits - 4  # bits below the one that says "middle of the sample"
        for channel, samples in enumerate(self.samples):
            now = Signal(SAMPLES, name=f"now_{channel}")
            before = Signal(name=f"before_{channel}")
            fast = Signal(half_rate.fast[channel].shape(), name=f"fast_{channel}")
            rises = now & ~Cat(before, now[:-1])
            first = Signal(2, name=f"first_{channel}")
            m.d.comb += first.eq(Mux(rises[0], 0, Mux(rises[1], 1, Mux(rises[2], 2, 3))))
            m.d.tag += [
                now.eq(samples),
                before.eq(now[-1]),
                fast.hit.eq(rises.any()),
                fast.code.eq(Cat(Const(0, below), Const(1, 1), first)),
            ]
            m.d.comb += half_rate.fast[channel].eq(fast)
        return m
