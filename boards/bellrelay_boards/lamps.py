"""Lights: alive, locked, overflow."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Lamps"]


class Lamps(wiring.Component):
    """What a person sees of a board; in ``sync``.

    ``alive`` blinks once in 2**26 clocks (0.67 s at 100 MHz) as long as there is a clock.
    ``locked`` is lit while all clocks are good. ``overflow`` is lit for at least 2**24 clocks
    after the link has not taken a byte for ``patience`` clocks while there was one, or after a
    fault of the relay: tags are being shed, or soon will be.

    Parameters
    ----------
    patience
        Clocks, 1 to 2**24 - 1.

    Members
    -------
    clocks_good : In(1), link_valid : In(1), link_ready : In(1), fault : In(1)
    alive, locked, overflow : Out(1)
    """

    BLINK_BITS = 26
    HOLD_BITS = 24

    def __init__(self, *, patience: int = 100_000) -> None:
        if not 1 <= patience < 1 << self.HOLD_BITS:
            raise ValueError(f"patience is {patience}; allowed: 1 to {(1 << self.HOLD_BITS) - 1}")
        self._patience = patience
        super().__init__(
            {
                "clocks_good": In(1),
                "link_valid": In(1),
                "link_ready": In(1),
                "fault": In(1),
                "alive": Out(1),
                "locked": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        blink, held = Signal(self.BLINK_BITS), Signal(self.HOLD_BITS)
        waiting = Signal(range(self._patience + 1))
        stuck = waiting == self._patience
        m.d.sync += blink.eq(blink + 1)
        with m.If(~self.link_valid | self.link_ready):
            m.d.sync += waiting.eq(0)
        with m.Elif(~stuck):
            m.d.sync += waiting.eq(waiting + 1)
        with m.If(stuck | self.fault):
            m.d.sync += held.eq((1 << self.HOLD_BITS) - 1)
        with m.Elif(held != 0):
            m.d.sync += held.eq(held - 1)
        m.d.sync += [
            self.alive.eq(blink[-1]),
            self.locked.eq(self.clocks_good),
            self.overflow.eq(held != 0),
        ]
        return m
