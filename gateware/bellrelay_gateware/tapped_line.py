"""A delay line of carry cells on ECP5, sampled by flip-flops beside them."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .tap_check import TAP_ATTRIBUTE, LinePlace

__all__ = ["MIN_TAPS", "TappedLine"]

MIN_TAPS = {"6": 191, "7": 191, "8": 207, "8_5G": 255}
"""Taps that cover 5 ns at the fastest corner, by speed grade.

Of two taps, the database of Project Trellis has at least 62, 56, 50 and 39 ps: 5 ns are then 162,
179, 200 and 257 of them. The last is two too many for an 8-bit code: there the first bin is 40 ps
wider, at that corner.
"""

# With L4 the table's value at D C B A and L2 that at 0 0 B A, a carry cell gives
#     FCO = (~L4 & L2) | (L4 & FCI),   F = L4 ^ FCI.
_LAUNCH = 0x000A  # FCO = A, with B = C = D = 1
_PASS = 0xFFFF  # FCO = FCI, F = ~FCI


class TappedLine(wiring.Component):
    """One channel's delay line, in place from the launching cell to the last flip-flop.

    Each carry cell is written down as the ``TRELLIS_COMB`` that nextpnr makes of half a ``CCU2C``,
    beside its ``TRELLIS_FF``, both with their place: Yosys takes a line of ``CCU2C`` for one
    function of the input, and nextpnr cannot place one. What came out is held against this by
    :func:`~.tap_check.check_taps`.

    A carry cell's output is the inverse of its carry input, hence taps are stored inverted and
    turned round again behind the second rank, where the next look-up table takes that in.

    Parameters
    ----------
    place
        Length and place.
    name
        Tells this line from others in the placed netlist.

    Members
    -------
    pulse : In(1), asynchronous
    taps : Out(place.n_taps), ``tag``: bit ``i`` is set if the pulse was past tap ``i`` at the edge
        ``LATENCY`` clocks ago (two ranks of flip-flops)

    Raises
    ------
    ValueError
        For a name that is empty or has a slash.
    """

    LATENCY = 2

    def __init__(self, place: LinePlace, *, name: str) -> None:
        if not name or "/" in name:
            raise ValueError(f"name is {name!r}; allowed: text without a slash")
        self.place = place
        self.name = name
        super().__init__({"pulse": In(1), "taps": Out(place.n_taps)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n_taps = self.place.n_taps
        first, second = Signal(n_taps), Signal(n_taps, reset_less=True)
        carry = Signal(n_taps + 1)
        for cell in range(n_taps + 1):
            launch = cell == 0
            ports = {
                "i_A": self.pulse if launch else Const(1),
                **{f"i_{unused}": Const(1) for unused in "BCD"},
                "o_FCO": carry[cell],
            }
            if not launch:
                inverse = Signal(name=f"inverse_{cell - 1}")
                ports |= {"i_FCI": carry[cell - 1], "o_F": inverse}
                m.submodules[f"tap_{cell - 1}"] = Instance(
                    "TRELLIS_FF",
                    a_BEL=self.place.flip_flop(cell - 1),
                    a_keep=1,
                    **{f"a_{TAP_ATTRIBUTE}": f"{self.name}/{cell - 1}"},
                    p_GSR="DISABLED",
                    p_CEMUX="1",
                    p_CLKMUX="CLK",
                    p_LSRMUX="LSR",
                    p_REGSET="RESET",
                    i_CLK=ClockSignal("tag"),
                    i_DI=inverse,
                    i_LSR=Const(0),
                    o_Q=first[cell - 1],
                )
            m.submodules[f"carry_{cell}"] = Instance(
                "TRELLIS_COMB",
                a_BEL=self.place.carry(cell),
                a_keep=1,
                p_MODE="CCU2",
                p_INITVAL=Const(_LAUNCH if launch else _PASS, 16),
                p_CCU2_INJECT1="NO",
                **ports,
            )
        m.d.tag += second.eq(first)
        m.d.comb += self.taps.eq(~second)
        return m
