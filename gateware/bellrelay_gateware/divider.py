"""Sequential division."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divider"]


class Divider(wiring.Component):
    """Floor division of a signed numerator by a positive divisor, one bit per clock.

    Members
    -------
    numerator : In(signed(width + 1)), divisor : In(divisor_width); held until ``done``
    start : In(1), strobe
    done : Out(1), strobe, ``clocks`` clocks after ``start``
    quotient : Out(signed(width + 2)), remainder : Out(divisor_width); valid from ``done`` to the
        next ``start``; without meaning for a divisor of zero
    """

    def __init__(self, width: int, divisor_width: int) -> None:
        if width < 1 or divisor_width < 1:
            raise ValueError(f"width is {width!r}, divisor_width {divisor_width!r}; both from 1")
        self.width = width
        self.divisor_width = divisor_width
        self.clocks = width + 2
        super().__init__(
            {
                "numerator": In(signed(width + 1)),
                "divisor": In(divisor_width),
                "start": In(1),
                "done": Out(1),
                "quotient": Out(signed(width + 2)),
                "remainder": Out(divisor_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.width + 2))
        # Of `left`, known a clock ahead: they enable all the other registers.
        running, ending = Signal(), Signal()
        magnitude = Signal(self.width)
        rest = Signal(self.divisor_width + 1)
        quotient = Signal(self.width)
        negative = self.numerator < 0

        trial = Cat(magnitude[-1], rest[: self.divisor_width])
        enough = trial >= self.divisor
        m.d.sync += [self.done.eq(ending), ending.eq(running & (left == 2))]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.width + 1),
                running.eq(1),
                ending.eq(0),
                rest.eq(0),
                # -2**width has no place and stays out: a numerator is a register's difference
                magnitude.eq(Mux(negative, -self.numerator, self.numerator)),
            ]
        with m.Elif(running):
            m.d.sync += [
                left.eq(left - 1),
                running.eq(left != 2),
                magnitude.eq(magnitude << 1),
                rest.eq(Mux(enough, trial - self.divisor, trial)),
                quotient.eq(Cat(enough, quotient)),
            ]
        with m.Elif(ending):
            exact = rest == 0
            with m.If(negative):
                m.d.sync += [
                    self.quotient.eq(Mux(exact, -quotient, -quotient - 1)),
                    self.remainder.eq(Mux(exact, 0, self.divisor - rest)),
                ]
            with m.Else():
                m.d.sync += [self.quotient.eq(quotient), self.remainder.eq(rest)]
        return m
