"""How many of many bits are set."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OnesCounter"]

_GROUP = 4  # bits of the first rank's sums: each of their bits is one look-up table of four inputs


class OnesCounter(wiring.Component):
    """A tree of sums with a register after each.

    The first rank counts in fours, every further one adds two sums; no rank is deeper than one
    adder of the count's width.

    Parameters
    ----------
    n_bits
        From 1.

    Members
    -------
    bits : In(n_bits), one vector per clock
    count : Out(range(n_bits + 1)), ``latency`` clocks later

    Raises
    ------
    ValueError
        For a number of bits below 1.
    """

    def __init__(self, n_bits: int) -> None:
        if n_bits < 1:
            raise ValueError(f"n_bits is {n_bits!r}; allowed: from 1")
        self.n_bits = n_bits
        groups = -(-n_bits // _GROUP)
        self.latency = 1 + (groups - 1).bit_length()
        super().__init__({"bits": In(n_bits), "count": Out(range(n_bits + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums: list[Value] = [
            sum((bit for bit in self.bits[i : i + _GROUP]), Const(0))
            for i in range(0, self.n_bits, _GROUP)
        ]
        for rank in range(self.latency):
            if rank:
                sums = [
                    sums[i] + sums[i + 1] if i + 1 < len(sums) else sums[i]
                    for i in range(0, len(sums), 2)
                ]
            # Sums start at zero whatever the bits are then: no reset is worth its wires here.
            registers = [
                Signal.like(value, name=f"sum_{rank}_{i}", reset_less=True)
                for i, value in enumerate(sums)
            ]
            m.d.sync += [r.eq(s) for r, s in zip(registers, sums, strict=True)]
            sums = list(registers)
        (total,) = sums
        m.d.comb += self.count.eq(total)
        return m
