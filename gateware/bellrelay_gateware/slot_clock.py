"""The slot clock: where in which slot every cell begins."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed
from .tag import delta_width, fine_width, marker_layout, step_width

__all__ = ["FRACTION_BITS", "SlotClock"]

FRACTION_BITS = 48


class SlotClock(wiring.Component):
    """Phase accumulator in picoseconds with 48 fraction bits, modulo the slot period.

    The clock period is ``clock_q`` slot periods and ``clock_r`` picoseconds, so that a cell moves
    the position by little more than one slot period, whatever the period is. The fraction runs
    ahead of the position: only a 26-bit addition and a choice lie in the position's own loop.

    Members
    -------
    marker : In, of the cell that begins
    slot_period, phase, rate (signed 51 bits), trim : In; ``trim`` is sampled in a tick's first cell
    clock_q, clock_r : In, the clock period divided by the slot period
    marker_o, position, step, last, slots : Out, 4 clocks later, of the same cell: position of its
        start in the open slot, its length on the reference axis, where its last picosecond lies,
        how many slots close in it (0 in a cell that is not active)
    """

    LATENCY = 4

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        super().__init__(
            {
                "marker": In(marker_layout()),
                "slot_period": In(24),
                "phase": In(24),
                "rate": In(signed(51)),
                "trim": In(signed(32)),
                "clock_q": In(delta_width(g)),
                "clock_r": In(fine_width(g) + 1),
                "marker_o": Out(marker_layout()),
                "position": Out(24),
                "step": Out(step_width(g)),
                "last": Out(25),
                "slots": Out(delta_width(g)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        period = self.geometry.clock_period_ps
        marker = [self.marker]
        for k in range(1, 5):
            marker.append(delayed(m, self.marker, k, f"marker_{k}"))

        # 0: what a cell adds beyond the clock period.
        trim_held = Signal(signed(32))
        trim = Signal(signed(32))
        after_last = Signal()
        addend = Signal(signed(53))
        m.d.comb += trim.eq(Mux(self.marker.start | after_last, self.trim, trim_held))
        m.d.sync += [
            after_last.eq(self.marker.last),
            trim_held.eq(trim),
            addend.eq(self.rate + (trim << 16)),
        ]

        # 1: the fraction.
        fraction = Signal(FRACTION_BITS)
        fraction_sum = Signal(FRACTION_BITS + 1)
        whole = Signal(signed(5))
        m.d.comb += fraction_sum.eq(fraction + addend[:FRACTION_BITS])
        with m.If(self.marker.start):  # for cell 0, which is here in the next clock
            m.d.sync += fraction.eq(0)
        with m.Elif(marker[1].active):
            m.d.sync += fraction.eq(fraction_sum[:FRACTION_BITS])
        m.d.sync += whole.eq(addend[FRACTION_BITS:].as_signed() + fraction_sum[FRACTION_BITS])

        # 2: the four possible moves of the position, less -1, 0, 1, 2 slot periods.
        moves = [Signal(signed(27), name=f"move_{k}") for k in range(4)]
        step, step_less = (Signal(step_width(self.geometry)) for _ in range(2))
        beyond = Signal(signed(fine_width(self.geometry) + 3))
        m.d.comb += beyond.eq(self.clock_r + whole)
        m.d.sync += [step.eq(period + whole), step_less.eq(period - 1 + whole)]
        m.d.sync += [
            moves[0].eq(beyond + self.slot_period),
            moves[1].eq(beyond),
            moves[2].eq(beyond - self.slot_period),
            moves[3].eq(beyond - (self.slot_period << 1)),
        ]

        # 3: the position.
        position = Signal(24)
        after = [Signal(signed(28), name=f"after_{k}") for k in range(4)]
        m.d.comb += [a.eq(position + move) for a, move in zip(after, moves, strict=True)]
        fits = Cat(a >= 0 for a in after)
        chosen = Signal(24)
        slots = Signal.like(self.slots)
        m.d.comb += [chosen.eq(after[0]), slots.eq(self.clock_q - 1)]
        for k in range(1, 4):
            with m.If(fits[k]):
                m.d.comb += [chosen.eq(after[k]), slots.eq(self.clock_q + (k - 1))]
        with m.If(marker[2].start):  # as above
            m.d.sync += position.eq(self.phase)
        with m.Elif(marker[3].active):
            m.d.sync += position.eq(chosen)
        m.d.sync += [
            self.position.eq(position),
            self.step.eq(step),
            self.last.eq(position + step_less),
            self.slots.eq(Mux(marker[3].active, slots, 0)),
        ]
        m.d.comb += self.marker_o.eq(marker[4])
        return m
