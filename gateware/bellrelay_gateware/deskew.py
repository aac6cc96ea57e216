"""Subtracts a channel's delay."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .tag import fine_width, moved_layout, suppressed_layout

__all__ = ["Deskew"]


class Deskew(wiring.Component):
    """Moves a tag by a delay of ``cells`` clock periods and ``rest`` picoseconds.

    Members
    -------
    cells : In(signed), delay floor-divided by the clock period
    rest : In, remainder
    i : In, tag that the dead time may have marked
    o : Out, the tag and how many cells earlier it belongs, 1 clock later
    """

    LATENCY = 1

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "cells": In(signed(geometry.align_depth.bit_length())),
                "rest": In(fine_width(geometry)),
                "i": In(suppressed_layout(geometry)),
                "o": Out(moved_layout(geometry)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        borrow = Signal()
        m.d.comb += borrow.eq(self.i.fine < self.rest)
        m.d.sync += [
            self.o.valid.eq(self.i.valid),
            self.o.suppressed.eq(self.i.suppressed),
            self.o.fine.eq(self.i.fine - self.rest + Mux(borrow, self.geometry.clock_period_ps, 0)),
            self.o.back.eq(self.cells + borrow),
        ]
        return m
