"""Pulses that know nothing of the board's clock."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["CalibrationSource"]


class CalibrationSource(wiring.Component):
    """The internal oscillator of an ECP5, halved: about 19 MHz, high for as long as low.

    The oscillator is free-running and noisy (310 MHz nominal, over 8), in no relation to crystals
    and loops. Halving it gives equal halves of 26 ns, longer than a delay line.

    It gives pulses only while it is asked for them: clicks should not be timed beside an edge every
    26 ns. What selects it is handed on in the oscillator's own clock, so that no path of the
    board's clocks runs into a delay line, where it could only be too long.

    Parameters
    ----------
    n_channels
        From 1.

    Members
    -------
    enable : In(1)
    select : In(n_channels)
    selected : Out(n_channels), the same up to three periods of 26 ns later
    o : Out(1), asynchronous
    """

    def __init__(self, n_channels: int) -> None:
        if n_channels < 1:
            raise ValueError(f"n_channels is {n_channels!r}; allowed: from 1")
        super().__init__(
            {
                "enable": In(1),
                "select": In(n_channels),
                "selected": Out(n_channels),
                "o": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.oscillator = ClockDomain(reset_less=True, local=True)
        m.submodules.oscillator = Instance(
            "OSCG", p_DIV=8, o_OSC=ClockSignal("oscillator"), a_keep=1
        )
        m.submodules.select = FFSynchronizer(self.select, self.selected, o_domain="oscillator")
        enable = Signal()
        m.submodules.enable = FFSynchronizer(self.enable, enable, o_domain="oscillator")
        m.d.oscillator += self.o.eq(~self.o & enable)
        return m
