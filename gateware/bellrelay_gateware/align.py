"""Puts the tags of all channels in the order of their deskewed cells."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import fine_width, marker_layout, moved_layout, suppressed_layout

__all__ = ["Align"]


class Align(wiring.Component):
    """One ring of ``align_depth`` cells per channel, read ``cells`` clocks behind the present.

    A tag is written to the ring at its deskewed cell. The cell's markers, and the marks of tags
    that cannot be written, go through a ring of their own at the raw cell, so that they stay in
    step. A tag is placed if it belongs less than ``cells`` cells before the present one (and in
    the ring at all, which the registers' ranges guarantee).

    Members
    -------
    cells : In, clocks to wait; must not change while a ``last`` is in the ring
    marker : In, of the present cell
    i : In, per channel a moved tag of the present cell
    marker_o : Out, of the cell that comes out, ``2 + cells`` clocks later
    o : Out, per channel the tag of that cell
    before_start, misaligned : Out, per channel: the tag that arrived in that (raw) cell was
        dropped, because it belongs before the acquisition's start, or cannot be placed
    """

    LATENCY = 2  # and the waiting

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        n = g.n_channels
        super().__init__(
            {
                "cells": In((g.align_depth - 1).bit_length()),
                "marker": In(marker_layout()),
                "i": In(data.ArrayLayout(moved_layout(g), n)),
                "marker_o": Out(marker_layout()),
                "o": Out(data.ArrayLayout(suppressed_layout(g), n)),
                "before_start": Out(n),
                "misaligned": Out(n),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g = self.geometry
        n, depth = g.n_channels, g.align_depth
        bits = (depth - 1).bit_length()

        # Present cell, as far as it matters: deskew reaches back less than `depth` cells.
        age_state = Signal(range(depth + 1))
        age = Signal(range(depth + 1))
        m.d.comb += age.eq(Mux(self.marker.start, 0, age_state))
        with m.If(age != depth):
            m.d.sync += age_state.eq(age + 1)
        with m.Else():
            m.d.sync += age_state.eq(age)

        # Stage 1: which tags have a place: those less than `cells` back, and within the ring.
        cells, too_far = Signal(signed(bits + 1)), Signal(signed(bits + 2))
        m.d.sync += [cells.eq(self.cells), too_far.eq(self.cells - depth)]
        restart = Signal()
        marks = data.StructLayout({"marker": marker_layout(), "before": n, "misaligned": n})
        present = Signal(marks)
        m.d.sync += [restart.eq(self.marker.start), present.marker.eq(self.marker)]

        def places(first: int, name: str) -> tuple[Signal, Signal]:
            """The present place of a ring, and the one that is read, ``cells`` behind it.

            Every ring counts for itself, from another place on: one pair of counters for all of
            them would have to reach across the chip, and synthesis makes one of equal ones.
            """
            now, behind = Signal(bits, init=first, name=f"now_{name}"), Signal(bits)
            m.d.sync += [now.eq(now + 1), behind.eq(now + 1 - self.cells)]
            return now, behind

        now, behind = places(0, "marks")
        ring = Memory(shape=marks, depth=depth, init=[], attrs={"no_rw_check": 1})
        m.submodules.marks = ring
        write, read = ring.write_port(), ring.read_port()
        m.d.comb += [
            write.en.eq(1),
            write.addr.eq(now),
            write.data.eq(present),
            read.addr.eq(behind),
            self.marker_o.eq(read.data.marker),
            self.before_start.eq(read.data.before),
            self.misaligned.eq(read.data.misaligned),
        ]

        stored = data.StructLayout({"suppressed": 1, "fine": fine_width(g)})
        for channel in range(n):
            tag, out = self.i[channel], self.o[channel]
            before = Signal(name=f"before_{channel}")
            late = Signal(name=f"late_{channel}")
            m.d.comb += [
                before.eq(Mux(self.marker.start, tag.back > 0, tag.back > age_state)),
                late.eq((tag.back >= cells) | (tag.back <= too_far)),
            ]
            now, behind = places(1 + channel, f"{channel}")
            place = Signal(name=f"place_{channel}")
            target = Signal(bits, name=f"target_{channel}")
            wait = Signal(bits, name=f"wait_{channel}")
            content = Signal(stored, name=f"content_{channel}")
            m.d.sync += [
                place.eq(tag.valid & ~before & ~late),
                present.before[channel].eq(tag.valid & before & ~tag.suppressed),
                present.misaligned[channel].eq(tag.valid & ~before & late),
                target.eq(now + 1 - tag.back),
                wait.eq(cells - 1 - tag.back),
                content.suppressed.eq(tag.suppressed),
                content.fine.eq(tag.fine),
            ]
            # Stage 2: into the ring. Whether there is a tag moves towards the way out on its own.
            memory = Memory(shape=stored, depth=depth, init=[], attrs={"no_rw_check": 1})
            m.submodules[f"ring_{channel}"] = memory
            write, read = memory.write_port(), memory.read_port()
            coming = Signal(depth, name=f"coming_{channel}")
            m.d.comb += [
                write.en.eq(place),
                write.addr.eq(target),
                write.data.eq(content),
                read.addr.eq(behind),
                out.suppressed.eq(read.data.suppressed),
                out.fine.eq(read.data.fine),
            ]
            m.d.sync += [out.valid.eq(coming[0] & ~restart), coming.eq(coming >> 1)]
            with m.If(restart):
                m.d.sync += coming.eq(0)
            with m.If(place):
                m.d.sync += coming.bit_select(wait, 1).eq(1)
        return m
