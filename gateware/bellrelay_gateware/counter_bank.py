"""All counters: small ones per tick, added to 64-bit totals once the tick is over."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Array, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed
from .increments import ALIGNED_COUNTERS, RAW_COUNTERS, increments_layout

__all__ = ["BOARD", "DECIDED", "CounterBank", "counting_layout", "decided_layout"]

_RAW = (*RAW_COUNTERS, "tags_lost")
_ALIGNED = (*ALIGNED_COUNTERS, "lost_psi_minus", "lost_psi_plus")
BOARD = ("commands_bad", "commands_dropped")
"""Families that count by the board's own clock."""
DECIDED = (
    "tags_shed",
    "announced_psi_minus",
    "announced_psi_plus",
    "shed_psi_minus",
    "shed_psi_plus",
    "frames_skipped",
)
"""Families that are known once a tick's frames are decided upon."""


def counting_layout(geometry: BoardGeometry) -> data.StructLayout:
    """Per clock: the stages' increments, and those of captures and commands."""
    fields: dict[str, Shape] = dict(increments_layout(geometry).members)
    ports = unsigned((geometry.n_ports).bit_length())
    for c in counters(geometry):
        if c.kind in ("tags_lost", *BOARD):
            fields[c.name] = unsigned(1)
        elif c.kind in ("lost_psi_minus", "lost_psi_plus"):
            fields[c.name] = ports
    return data.StructLayout(fields)


def decided_layout(geometry: BoardGeometry) -> data.StructLayout:
    """Per tick: what its decision adds."""
    return data.StructLayout({c.name: 20 for c in counters(geometry) if c.kind in DECIDED})


class CounterBank(wiring.Component):
    """Cuts every counter exactly at its tick's last cell, then walks them into the totals.

    Members
    -------
    counting : In(counting_layout(geometry))
        Increments of this clock.
    raw_cut, aligned_cut, board_cut : In(1)
        The increments of this clock are the last ones of a tick, in that domain.
    decided : In(decided_layout(geometry))
        Held during the walk.
    walk : In(1), add : In(1), clear : In(1)
        Strobe; with ``add`` the tick's counts are added (while ``clear``: to zero). The walk takes
        one clock per counter and three more, whatever it does.
    tick : Out(counting_layout widened)
        The counts of the tick that was cut last.
    read_addr : In, read_data : Out(64)
        Totals, in the order of :func:`bellrelay.wire.counters.counters`; latency two clocks.
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self._geometry = geometry
        self._counters = counters(geometry)
        counting = counting_layout(geometry)
        per_tick: Mapping[str, Shape] = {
            name: unsigned(
                (((1 << Shape.cast(shape).width) - 1) * geometry.tick_clocks).bit_length()
            )
            for name, shape in counting.members.items()
        }
        super().__init__(
            {
                "counting": In(counting),
                "raw_cut": In(1),
                "aligned_cut": In(1),
                "board_cut": In(1),
                "decided": In(decided_layout(geometry)),
                "walk": In(1),
                "add": In(1),
                "clear": In(1),
                "tick": Out(data.StructLayout(per_tick)),
                "read_addr": In(range(len(self._counters))),
                "read_data": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = len(self._counters)
        m.submodules.totals = memory = Memory(shape=64, depth=n, init=[], attrs={"no_rw_check": 1})
        write, read = memory.write_port(), memory.read_port()
        at = Signal(range(n + 1), init=n)
        values = []
        for c in self._counters:
            if c.kind in DECIDED:
                value = self.decided[c.name]
            else:
                cut = (
                    self.raw_cut
                    if c.kind in _RAW
                    else self.aligned_cut
                    if c.kind in _ALIGNED
                    else self.board_cut
                )
                value = self.tick[c.name]
                small = Signal(value.shape(), name=f"small_{c.name}")
                total = Signal(value.shape(), name=f"now_{c.name}")
                m.d.comb += total.eq(small + self.counting[c.name])
                m.d.sync += small.eq(Mux(cut, 0, total))
                with m.If(cut):
                    m.d.sync += value.eq(total)
            values.append(value)
        # The amount is picked in two steps, and meets the total that was read meanwhile.
        group, groups = 16, []
        for first in range(0, n, group):
            chosen = Signal(32, name=f"amount_{first}")
            with m.Switch(at[:4]):
                for i, value in enumerate(values[first : first + group]):
                    with m.Case(i):
                        m.d.sync += chosen.eq(value)
            groups.append(chosen)
        at_group = Signal(range(len(groups) + 1))
        amount = Signal(32)
        m.d.sync += [at_group.eq(at >> 4), amount.eq(Array(groups)[at_group])]
        walking = Signal()
        m.d.sync += walking.eq(self.walk | (walking & (at != n - 1)))
        with m.If(self.walk):
            m.d.sync += at.eq(0)
        with m.Elif(walking):
            m.d.sync += at.eq(at + 1)
        writes = delayed(m, walking & self.add, 2, "writes")
        m.d.sync += self.read_data.eq(read.data)
        m.d.comb += [
            read.addr.eq(Mux(walking, at, self.read_addr)),
            write.addr.eq(delayed(m, at, 2, "at_write")),
            write.en.eq(writes),
            write.data.eq(Mux(self.clear, 0, self.read_data) + amount),
        ]
        return m
