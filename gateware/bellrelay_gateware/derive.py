"""What follows from the registers and needs a division."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .config import config_layout
from .divider import Divider
from .liveness import blind_layout
from .tag import delta_width, fine_width

__all__ = ["DERIVE_CLOCKS", "Derive", "derived_layout"]

DERIVE_CLOCKS = 1000
"""Most clocks from ``derive`` to ``derived``, for every geometry."""

_WIDTH = 33


def derived_layout(geometry: BoardGeometry) -> data.StructLayout:
    """Quotients and remainders that the stages work with.

    ``clock_q, clock_r``: clock period by slot period; ``deskew``: deskew by clock period;
    ``blind``: dead time less the first window's start, by slot period; ``gate_phase``: what to add
    to a cell's position so that a detector's gate begins at 0, modulo the slot period;
    ``align_cells``: in force.
    """
    g = geometry
    skew = data.StructLayout({"cells": signed(g.align_depth.bit_length()), "rest": fine_width(g)})
    return data.StructLayout(
        {
            "clock_q": delta_width(g),
            "clock_r": fine_width(g) + 1,
            "deskew": data.ArrayLayout(skew, g.n_channels),
            "blind": data.ArrayLayout(blind_layout(), g.n_detectors),
            "gate_phase": data.ArrayLayout(24, g.n_detectors),
            "align_cells": (g.align_depth - 1).bit_length(),
        }
    )


class Derive(wiring.Component):
    """Works off all divisions with one divider, then takes over ``align_cells``.

    ``align_cells`` changes only while no tick's end is in the align ring: none is lost, none comes
    out twice.

    Parameters
    ----------
    geometry
        Shape of the board.
    gate_latency
        Clocks from a cell to the gate output that is computed from it, ``align_cells`` aside.

    Members
    -------
    config : In, registers; must not change from ``derive`` to ``derived``
    derive : In(1), strobe
    tick_last : In(1), of the cell that enters the align ring's first stage or earlier
    derived : Out(1), from the end of a derivation to the next ``derive``
    o : Out, :func:`derived_layout`; holds

    At most ``DERIVE_CLOCKS`` clocks, in ticks of 1024 clocks or more.
    """

    def __init__(self, geometry: BoardGeometry, gate_latency: int) -> None:
        self.geometry = geometry
        self.gate_latency = gate_latency
        super().__init__(
            {
                "config": In(config_layout(geometry)),
                "derive": In(1),
                "tick_last": In(1),
                "derived": Out(1),
                "o": Out(derived_layout(geometry)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g, c = self.geometry, self.config
        period = g.clock_period_ps

        first_window = Signal(25)
        has_early, has_late, late_before = Signal(), Signal(), Signal()
        late_first = has_late & (~has_early | late_before)
        m.d.sync += [
            has_early.eq(c.early_start != c.early_end),
            has_late.eq(c.late_start != c.late_end),
            late_before.eq(c.late_start < c.early_start),
            first_window.eq(Mux(late_first, c.late_start, Mux(has_early, c.early_start, 0))),
        ]
        delay, delay_cells = Signal(32), Signal(10)
        m.d.sync += [
            delay_cells.eq(c.align_cells + self.gate_latency),
            delay.eq(delay_cells * period),
        ]

        # Each job: numerator, whether by the slot period (else the clock period), and where to.
        jobs: list[tuple[Value, bool, list[tuple[Value, str]]]] = []
        slot = True
        jobs.append((Const(period), slot, [(self.o.clock_q, "q"), (self.o.clock_r, "r")]))
        for k in range(g.n_channels):
            target = self.o.deskew[k]
            jobs.append((c.deskew_ps[k], not slot, [(target.cells, "q"), (target.rest, "r")]))
        for d in range(g.n_detectors):
            target = self.o.blind[d]
            jobs.append(
                (c.dead_time_ps[d] - first_window, slot, [(target.slots, "q"), (target.rest, "r")])
            )
        for d in range(g.n_detectors):
            jobs.append((delay - c.gate_delay_ps[d], slot, [(self.o.gate_phase[d], "r")]))

        m.submodules.divider = divider = Divider(_WIDTH - 1, 24)
        job = Signal(range(len(jobs) + 1))
        numerators = []
        for k, (numerator, _, _) in enumerate(jobs):
            wide = Signal(signed(_WIDTH), name=f"numerator_{k}")
            m.d.comb += wide.eq(numerator)
            numerators.append(wide)
        by_slot = Array([int(by) for _, by, _ in jobs])
        m.d.sync += [
            divider.numerator.eq(Array(numerators)[job]),
            divider.divisor.eq(Mux(by_slot[job], c.slot_period_ps, period)),
        ]

        # Cells since the last tick's end entered: when all of the ring is younger, it is clear.
        pipe = 16
        since = Signal(range(g.align_depth + pipe + 1))
        clear = since == g.align_depth + pipe
        with m.If(self.tick_last):
            m.d.sync += since.eq(0)
        with m.Elif(~clear):
            m.d.sync += since.eq(since + 1)

        # What was found is put down a clock later, which the divider has to spare: the registers
        # lie all over the chip.
        stores = Signal(len(jobs))
        m.d.sync += stores.eq(0)
        for k, (_, _, targets) in enumerate(jobs):
            with m.If(stores[k]):
                for target, part in targets:
                    m.d.sync += target.eq(divider.quotient if part == "q" else divider.remainder)

        with m.FSM():
            with m.State("rest"):
                with m.If(self.derive):
                    m.d.sync += [self.derived.eq(0), job.eq(0)]
                    m.next = "compare"
            with m.State("compare"):  # which window is the first
                m.next = "settle"
            with m.State("settle"):  # first_window and delay
                m.next = "pick"
            with m.State("pick"):  # numerator and divisor
                m.next = "start"
            with m.State("start"):
                m.d.comb += divider.start.eq(1)
                m.next = "divide"
            with m.State("divide"):
                with m.If(divider.done):
                    m.d.sync += [stores.bit_select(job, 1).eq(1), job.eq(job + 1)]
                    with m.If(job == len(jobs) - 1):
                        m.next = "align"
                    with m.Else():
                        m.next = "pick"
            with m.State("align"):
                with m.If(clear & ~self.tick_last):
                    m.d.sync += [self.o.align_cells.eq(c.align_cells), self.derived.eq(1)]
                    m.next = "rest"
        return m
