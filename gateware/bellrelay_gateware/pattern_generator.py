"""Self-test pattern: known hits at known cells, in place of the front end's."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.selftest_pattern import PatternEntry, selftest_pattern

from .front_end import hits_layout

__all__ = ["PatternGenerator"]


class PatternGenerator(wiring.Component):
    """Replays a list of entries once per acquisition, from cell 0 on.

    Parameters
    ----------
    geometry
    entries
        Ascending cells from 2 on, one entry per cell at most; default: the self-test's.

    Members
    -------
    cell_start : In(1)
        This clock is cell 0, as the relay has it.
    hits : Out, :func:`~.front_end.hits_layout`
        Of the cell that this clock is: no latency. Nothing before the first ``cell_start``.
    pulses : Out(n_channels)
        The same without their codes, each lengthened to two clocks: for pins.

    Raises
    ------
    ValueError
        Entries out of order, before cell 2, past a tick (the shortest acquisition), or with a
        channel or a code that there is not.
    """

    def __init__(
        self, geometry: BoardGeometry, entries: Sequence[PatternEntry] | None = None
    ) -> None:
        self.geometry = g = geometry
        self.entries = tuple(selftest_pattern(g) if entries is None else entries)
        before = 1
        for entry in self.entries:
            if entry.cell <= before:
                raise ValueError(f"entries: cell {entry.cell} after {before}; allowed: ascending")
            if not 0 < entry.mask < 1 << g.n_channels or not 0 <= entry.code < 1 << g.code_bits:
                raise ValueError(f"entries: {entry} has a channel or a code that is not there")
            before = entry.cell
        if not 1 < before < g.tick_clocks:
            raise ValueError(f"entries: last cell is {before}; allowed: 2 to {g.tick_clocks - 1}")
        super().__init__(
            {
                "cell_start": In(1),
                "hits": Out(hits_layout(g)),
                "pulses": Out(g.n_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        last_cell = self.entries[-1].cell
        layout = data.StructLayout(
            {"cell": range(last_cell + 1), "mask": g.n_channels, "code": g.code_bits}
        )
        m.submodules.entries = memory = Memory(
            shape=layout,
            depth=len(self.entries),
            init=[{"cell": e.cell, "mask": e.mask, "code": e.code} for e in self.entries],
        )
        read = memory.read_port()
        at = Signal(range(len(self.entries)))
        upcoming = Signal.like(at)
        following, then = Signal(range(last_cell + 2)), Signal(range(last_cell + 2))
        running, play = Signal(), Signal()
        last = at == len(self.entries) - 1
        # A clock for the way from the relay: cell 1 is the first that is known of here.
        started = Signal()
        m.d.sync += started.eq(self.cell_start)
        # `following` is the next clock's cell: what that one shows is decided in this one.
        m.d.comb += [
            following.eq(Mux(started, 2, then)),
            play.eq((started | running) & (read.data.cell == following)),
            upcoming.eq(Mux(play, Mux(last, 0, at + 1), at)),
            read.addr.eq(upcoming),
        ]
        m.d.sync += [then.eq(following + (following != last_cell + 1)), at.eq(upcoming)]
        with m.If(play & last):
            m.d.sync += running.eq(0)
        with m.Elif(started):
            m.d.sync += running.eq(1)
        shown, before = Signal(g.n_channels), Signal(g.n_channels)
        m.d.sync += [shown.eq(Mux(play, read.data.mask, 0)), before.eq(shown)]
        code = Signal(g.code_bits)
        m.d.sync += code.eq(read.data.code)
        m.d.comb += self.pulses.eq(shown | before)
        for channel in range(g.n_channels):
            m.d.comb += [
                self.hits[channel].hit.eq(shown[channel]),
                self.hits[channel].code.eq(code),
            ]
        return m
