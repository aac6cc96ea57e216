"""Slots in which a detector could not have fired."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
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


class Liveness(wiring.Component):
    """Says of every slot that a cell touches whether a detector is blind in it.

    So is every slot that a cell touches whose marker says ``blind``. A click in slot ``s`` that
    begins a dead time blinds the slots between ``s`` and
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
    blocked : Out, bit per slot relative to the open slot, 5 clocks later: not live
    """

    LATENCY = 5

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
        marker_before = delayed(m, self.marker, 3, "marker_before")
        marker = delayed(m, marker_before, 1, "marker_delay")
        slots_late = delayed(m, self.slots, 3, "slots_late")
        slots = delayed(m, slots_late, 1, "slots_delay")

        width = BLIND_BITS + 1
        deltas, ends, near = [], [], []
        for d in range(n):
            tag = self.i[d]
            begins = [Signal(name=f"begins_{d}_{k}") for k in range(2)]
            # What does not change: the rest less a slot period and one.
            beyond = Signal(signed(26), name=f"beyond_{d}")
            some_rest = Signal(name=f"some_rest_{d}")
            m.d.sync += [
                beyond.eq(self.blind[d].rest - self.slot_period - 1),
                some_rest.eq(self.blind[d].rest != 0),
            ]
            # 1: ceil((pos + rest) / slot_period), 0 to 2
            begun, another = Signal(name=f"begun_{d}"), Signal(name=f"another_{d}")
            delta = Signal(delta_width(g), name=f"delta_{d}")
            m.d.sync += [
                begins[0].eq(tag.valid & (~tag.suppressed | self.extend[d])),
                delta.eq(tag.delta),
                begun.eq(some_rest | (tag.pos != 0)),
                another.eq((tag.pos + beyond) >= 0),
            ]
            # 2
            end = Signal(signed(width + 1), name=f"end_{d}")
            m.d.sync += [
                begins[1].eq(begins[0]),
                end.eq(self.blind[d].slots + (delta + begun + another)),
            ]
            # 3; what lies beyond this cell's slots is of interest only to the maximum
            counted = Signal(width, name=f"counted_{d}")
            m.d.comb += counted.eq(Mux(begins[1] & ~end[-1], end, 0))
            # The same for this cell's slots: with few bits, as the dead time itself is far beyond
            # them, far below, or near.
            small = (most + 4).bit_length()
            beyond_all, below_all = Signal(name=f"all_{d}"), Signal(name=f"none_{d}")
            close = Signal(signed(small + 3), name=f"close_{d}")
            slots_blind = self.blind[d].slots
            m.d.sync += [
                beyond_all.eq(slots_blind > most),
                below_all.eq(slots_blind < -(most + 3)),
                close.eq(slots_blind[: small + 2].as_signed() + (delta + begun + another)),
            ]
            reach = Signal(range(most + 2), name=f"reach_{d}")
            with m.If(~begins[1] | below_all):
                m.d.sync += reach.eq(0)
            with m.Elif(beyond_all | (close > most)):
                m.d.sync += reach.eq(most + 1)
            with m.Else():
                m.d.sync += reach.eq(Mux(close < 0, 0, close))
            ends.append(counted)
            deltas.append(delayed(m, delta, 2, f"delta_delay_{d}"))
            near.append(reach)

        # 3, 4: the latest end, by pairs; which slots this cell's own clicks blind.
        pairs = []
        for k in range(0, n, 2):
            later = Signal(width, name=f"later_{k}")
            m.d.sync += later.eq(Mux(ends[k] < ends[k + 1], ends[k + 1], ends[k]))
            pairs.append(later)
        latest = Signal(width)
        if len(pairs) == 2:
            m.d.sync += latest.eq(Mux(pairs[0] < pairs[1], pairs[1], pairs[0]))
        else:
            m.d.sync += latest.eq(pairs[0])
        left_latest = Signal(signed(width + 1))
        own, own_last = Signal(most + 1), Signal()
        for slot in range(1, most + 1):
            m.d.sync += own[slot].eq(
                Cat((deltas[d] < slot) & (near[d] > slot) for d in range(n)).any()
            )
        m.d.sync += own_last.eq(
            Cat((deltas[d] < slots_late) & (near[d] > slots_late) for d in range(n)).any()
        )
        m.d.comb += left_latest.eq(latest - slots)

        # 5
        before, open_state = Signal(width), Signal()
        left_before, left = Signal(signed(width + 1)), Signal(signed(width + 1))
        m.d.comb += [
            left_before.eq(before - slots),
            left.eq(Mux(before < latest, left_latest, left_before)),
        ]
        with m.If(marker_before.start):  # for cell 0, which is here in the next clock
            m.d.sync += [before.eq(0), open_state.eq(0)]
        with m.Elif(marker.active):
            m.d.sync += [
                before.eq(Mux(left < 0, 0, left)),
                open_state.eq(
                    Mux(slots == 0, open_state, (before > slots) | own_last) | marker.blind
                ),
            ]
        m.d.sync += self.blocked[0].eq(open_state | marker.blind)
        for slot in range(1, most + 1):
            m.d.sync += self.blocked[slot].eq((before > slot) | own[slot] | marker.blind)
        return m
