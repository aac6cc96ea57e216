"""Slots in which a detector could not have fired."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed
from .tag import delta_width, located_layout, marker_layout

__all__ = ["BLIND_BITS", "Liveness", "blind_layout"]

BLIND_BITS = 23
"""Bits of a dead time in slots: 2**31 ps are fewer than 2**22 slots of 1000 ps, and a sign."""


def blind_layout() -> data.StructLayout:
    """Dead time less the first window's start, floor-divided by the slot period."""
    return data.StructLayout({"slots": signed(BLIND_BITS), "rest": 24})


def _larger(m: Module, values: list[Value], name: str) -> Value:
    """The largest of several values, by a tree of comparisons."""
    level = 0
    while len(values) > 1:
        above = []
        for i in range(0, len(values) - 1, 2):
            a, b = values[i], values[i + 1]
            both = Signal.like(a, name=f"{name}_{level}_{i}")
            m.d.comb += both.eq(Mux(a < b, b, a))
            above.append(both)
        if len(values) % 2:
            above.append(values[-1])
        values, level = above, level + 1
    return values[0]


class Liveness(wiring.Component):
    """Says of every slot that a cell touches whether a detector is blind in it.

    A click in slot ``s`` that begins a dead time blinds the slots between ``s`` and
    ``s + blind.slots + ceil((pos + blind.rest) / slot_period)``, both excluded. Clicks come in the
    order of their slots, so the largest of these ends says it all; it is kept relative to the
    open slot. The open slot's own bit is decided when it opens: its own clicks do not blind it.

    Members
    -------
    marker, slots : In, of the cell; ``slots`` that close in it
    slot_period : In
    blind : In, per detector :func:`blind_layout`
    extend : In, bit per detector: suppressed clicks begin a dead time too
    i : In, per detector a located tag
    blocked : Out, bit per slot relative to the open slot, 4 clocks later: not live
    """

    LATENCY = 4

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        super().__init__(
            {
                "marker": In(marker_layout()),
                "slots": In(delta_width(g)),
                "slot_period": In(24),
                "blind": In(data.ArrayLayout(blind_layout(), g.n_detectors)),
                "extend": In(g.n_detectors),
                "i": In(data.ArrayLayout(located_layout(g), g.n_detectors)),
                "blocked": Out(g.max_slots_per_cell + 1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        n, most = g.n_detectors, g.max_slots_per_cell
        marker = delayed(m, self.marker, 3, "marker_delay")
        slots = Signal.like(self.slots)
        m.d.comb += slots.eq(delayed(m, self.slots, 3, "slots_delay"))

        width = BLIND_BITS + 1
        deltas, ends, near = [], [], []
        for d in range(n):
            tag = self.i[d]
            begins = [Signal(name=f"begins_{d}_{k}") for k in range(2)]
            delta = [Signal(delta_width(g), name=f"delta_{d}_{k}") for k in range(3)]
            # 1
            far = Signal(25, name=f"far_{d}")
            m.d.sync += [
                begins[0].eq(tag.valid & (~tag.suppressed | self.extend[d])),
                delta[0].eq(tag.delta),
                far.eq(tag.pos + self.blind[d].rest),
            ]
            # 2
            end = Signal(signed(width + 1), name=f"end_{d}")
            m.d.sync += [
                begins[1].eq(begins[0]),
                delta[1].eq(delta[0]),
                end.eq(self.blind[d].slots + delta[0] + (far != 0) + (far > self.slot_period)),
            ]
            # 3; what lies beyond this cell's slots is of interest only to the maximum
            counted = Signal(width, name=f"counted_{d}")
            m.d.comb += counted.eq(Mux(begins[1] & (end > 0), end, 0))
            reach = Signal(range(most + 2), name=f"reach_{d}")
            m.d.sync += [
                delta[2].eq(delta[1]),
                reach.eq(Mux(counted > most, most + 1, counted)),
            ]
            ends.append(counted)
            deltas.append(delta[2])
            near.append(reach)
        latest = Signal(width)
        m.d.sync += latest.eq(_larger(m, ends, "latest"))

        # 4
        state, before = Signal(width), Signal(width)
        open_state, open_blocked = Signal(), Signal()
        m.d.comb += [
            before.eq(Mux(marker.start, 0, state)),
            open_blocked.eq(~marker.start & open_state),
        ]
        reach_before = Signal(range(most + 2))
        m.d.comb += reach_before.eq(Mux(before > most, most + 1, before))
        blocked = Signal(most + 1)
        m.d.comb += blocked[0].eq(open_blocked)
        for slot in range(1, most + 1):
            m.d.comb += blocked[slot].eq(
                (reach_before > slot)
                | Cat((deltas[d] < slot) & (near[d] > slot) for d in range(n)).any()
            )
        left_before, left_latest = Signal(signed(width + 1)), Signal(signed(width + 1))
        left = Signal(signed(width + 1))
        m.d.comb += [
            left_before.eq(before - slots),
            left_latest.eq(latest - slots),
            left.eq(Mux(before < latest, left_latest, left_before)),
        ]
        with m.If(marker.active):
            m.d.sync += [
                state.eq(Mux(left < 0, 0, left)),
                open_state.eq(blocked.bit_select(slots, 1)),
            ]
        m.d.sync += self.blocked.eq(blocked)
        return m
