"""A value, some clocks later."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine", "delayed"]


class DelayLine(wiring.Component):
    """Registers in a row: ``o`` is ``i``, ``clocks`` later (0: at once). Zero after reset."""

    def __init__(self, shape: object, clocks: int) -> None:
        if clocks < 0:
            raise ValueError(f"clocks is {clocks!r}; allowed: from 0")
        self.shape = shape
        self.clocks = clocks
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.i
        for k in range(self.clocks):
            register = Signal(self.shape, name=f"register_{k}", reset_less=False)
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += self.o.eq(value)
        return m


def delayed(m: Module, value: ValueLike, clocks: int, name: str) -> Any:
    """``value`` as it was ``clocks`` clocks ago; adds the delay line to ``m`` as ``name``."""
    shape = value.shape() if hasattr(value, "shape") else None
    line = DelayLine(shape, clocks)
    m.submodules[name] = line
    m.d.comb += line.i.eq(value)
    return line.o
