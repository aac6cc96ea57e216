"""Classifies closed slots by the pattern table."""

from __future__ import annotations

from itertools import combinations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import Outcome, SlotClass, outcome_of_class, pattern_table

from .bitmap import closed_layout
from .delay_line import delayed
from .tag import delta_width

__all__ = ["Bsm", "initial_pattern_table", "record_layout"]

_ANNOUNCED = tuple(c for c in SlotClass if outcome_of_class(c) is not None)


def initial_pattern_table(geometry: BoardGeometry) -> list[int]:
    """Content of the pattern table as built: time-bin, first half of the detectors on port 0."""
    n = geometry.n_detectors
    return pattern_table("time-bin", tuple(2 * d // n for d in range(n)))


def record_layout(geometry: BoardGeometry) -> data.StructLayout:
    """An accepted slot, relative to the cell's open slot."""
    return data.StructLayout({"valid": 1, "outcome": 2, "delta": delta_width(geometry)})


class Bsm(wiring.Component):
    """Table, liveness and ports.

    Every valid lane is one slot and gets one class. Accepted slots leave on ports: the open slot
    on port 0, short ones on ports 1.. in ascending order. Half as many ports as detectors suffice
    for these, because an accepted slot has two clicks: a code 1..3 for a bitmap of
    a single bit is taken as ``single``, and a code above 8 as ``none``.

    Members
    -------
    slots : In, closed slots, per lane :func:`~.bitmap.closed_layout`
    blocked : In, bit per relative slot: not live; 2 clocks after ``slots``
    announce_not_live : In(1)
    classes : Out, per class how many slots of the cell are of it, 4 clocks after ``slots``
    pairs : Out, per pair of detectors in how many slots of the cell both clicked, with ``classes``
    ports : Out, per port :func:`record_layout`, 4 clocks after ``slots``
    write : In, ``{en, addr, data}`` of the table
    read_addr, read_data : the same addresses, for the host, 2 clocks later
    """

    LATENCY = 4

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        self.n_lanes = 1 + g.n_detectors
        addr = g.n_cells + 1
        per_class = self.n_lanes.bit_length()
        super().__init__(
            {
                "slots": In(data.ArrayLayout(closed_layout(g), self.n_lanes)),
                "blocked": In(g.max_slots_per_cell + 1),
                "announce_not_live": In(1),
                "classes": Out(data.ArrayLayout(per_class, len(SlotClass))),
                "pairs": Out(data.ArrayLayout(2, len(list(combinations(range(g.n_detectors), 2))))),
                "ports": Out(data.ArrayLayout(record_layout(g), g.n_ports)),
                "write": In(data.StructLayout({"en": 1, "addr": addr, "data": 4})),
                "read_addr": In(addr),
                "read_data": Out(4),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        n = g.n_detectors

        # 1, 2: one copy of the table per lane; the last read port is the host's.
        reads = []
        table = Memory(
            shape=4,
            depth=1 << (g.n_cells + 1),
            init=initial_pattern_table(g),
            attrs={"no_rw_check": 1},
        )
        m.submodules.table = table
        write = table.write_port()
        m.d.comb += [
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
        ]
        for lane in range(self.n_lanes):
            read = table.read_port()
            m.d.comb += read.addr.eq(Cat(self.slots[lane].bits, self.slots[lane].multi))
            raw = Signal(4, name=f"raw_{lane}")
            m.d.sync += raw.eq(read.data)
            reads.append(raw)
        back = table.read_port()
        m.d.comb += back.addr.eq(self.read_addr)
        m.d.sync += self.read_data.eq(back.data)

        found = delayed(m, self.slots, 2, "found")
        closed = delayed(m, found, 1, "closed")

        # 3: class.
        outcomes = Array(
            [
                Const(int(outcome_of_class(SlotClass(c)) or 0), 2) if c <= 8 else Const(0, 2)
                for c in range(16)
            ]
        )
        assert {int(o) for o in Outcome} == {1, 2}
        codes, accepted, outcome = [], [], []
        for lane in range(self.n_lanes):
            slot = found[lane]
            code, code_now = Signal(4, name=f"code_{lane}"), Signal(4, name=f"code_now_{lane}")
            listed = Signal(name=f"listed_{lane}")
            live = Signal(name=f"live_{lane}")
            several = Signal(name=f"several_{lane}")
            raw = reads[lane]
            bits = delayed(m, self.slots[lane].bits, 1, f"bits_{lane}")
            m.d.sync += several.eq((bits & (bits - 1)[: g.n_cells]).any())
            m.d.comb += [
                live.eq(~self.blocked.bit_select(slot.delta, 1)),
                listed.eq(Cat(raw == c for c in _ANNOUNCED).any()),
                code_now.eq(
                    Mux(
                        listed,
                        Mux(
                            several,
                            Mux(live | self.announce_not_live, raw, SlotClass.NOT_LIVE),
                            SlotClass.SINGLE,
                        ),
                        Mux(raw > max(SlotClass), SlotClass.NONE, raw),
                    )
                ),
            ]
            accept = Signal(name=f"accept_{lane}")
            which = Signal(2, name=f"outcome_{lane}")
            m.d.sync += [
                code.eq(code_now),
                accept.eq(slot.valid & listed & several & (live | self.announce_not_live)),
                which.eq(outcomes[raw]),
            ]
            codes.append(code)
            accepted.append(accept)
            outcome.append(which)

        # 4: counts, ports.
        for c in SlotClass:
            m.d.sync += self.classes[int(c)].eq(
                sum(
                    (closed[lane].valid & (codes[lane] == c) for lane in range(self.n_lanes)),
                    Const(0),
                )
            )
        for p, (i, j) in enumerate(combinations(range(n), 2)):
            both: Value = Const(0)
            for lane in range(self.n_lanes):
                bits = closed[lane].bits
                both = both + (
                    closed[lane].valid & (bits[i] | bits[n + i]) & (bits[j] | bits[n + j])
                )
            m.d.sync += self.pairs[p].eq(both)

        m.d.sync += [
            self.ports[0].valid.eq(accepted[0]),
            self.ports[0].outcome.eq(outcome[0]),
            self.ports[0].delta.eq(0),
        ]
        short = range(1, self.n_lanes)
        rank = {
            lane: sum(
                (accepted[k] & (closed[k].delta < closed[lane].delta) for k in short if k != lane),
                Const(0),
            )
            for lane in short
        }
        for port in range(1, g.n_ports):
            m.d.sync += self.ports[port].valid.eq(0)
            for lane in short:
                with m.If(accepted[lane] & (rank[lane] == port - 1)):
                    m.d.sync += [
                        self.ports[port].valid.eq(1),
                        self.ports[port].outcome.eq(outcome[lane]),
                        self.ports[port].delta.eq(closed[lane].delta),
                    ]
        return m
