"""A bounded proof, and the pieces that several of them need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Assume, ClockDomain, Elaboratable, Module, Mux, Shape, Signal, Value

from bellrelay.wire.geometry import BoardGeometry

__all__ = ["Proof", "SmallGeometry", "Top", "begin", "free", "held"]


class Top(Elaboratable):
    """A module whose inputs are free: the solver chooses them in every clock.

    It is written to as a :class:`~amaranth.hdl.Module` is: ``d``, ``submodules``, ``If``.
    """

    def __init__(self) -> None:
        domain = ClockDomain("sync", reset_less=True)
        self.inputs: list[Signal] = [domain.clk]
        self._module = Module()
        self._module.domains += domain
        self.d = self._module.d
        self.submodules = self._module.submodules
        self.If = self._module.If

    def elaborate(self, platform: object) -> Module:
        return self._module


@dataclass(frozen=True)
class Proof:
    """Properties of one part.

    ``build(fault)`` gives the part in its surroundings; with ``fault`` something in it is broken
    on purpose, so that the proof must fail. ``depth`` is the number of clocks searched, for
    properties and for cover statements alike.
    """

    name: str
    title: str
    build: Callable[[bool], Top]
    depth: int


class SmallGeometry(BoardGeometry):
    """A board too small to build: clock periods of a few picoseconds keep the numbers small.

    The stages' arithmetic is the same for every clock period. The shortest slot is ``SHORTEST``:
    like the real one, not below the most that the rate takes from a cell (5 ps).
    """

    SHORTEST = 5

    def __post_init__(self) -> None:
        """No limits."""

    @property
    def max_slots_per_cell(self) -> int:
        return (self.SHORTEST - 1 + self.clock_period_ps + 8) // self.SHORTEST


def free(m: Top, shape: object, name: str) -> Signal:
    """An input."""
    signal = Signal(shape, name=name)
    m.inputs.append(signal)
    return signal


def begin(m: Top) -> Signal:
    """High in the first clock only."""
    first = Signal(init=1, name="first")
    m.d.sync += first.eq(0)
    return first


def held(m: Top, first: Signal, shape: Shape | int, name: str) -> Value:
    """An input that keeps the value that it has in the first clock."""
    signal = free(m, shape, name)
    before = Signal(shape, name=f"{name}_before")
    m.d.sync += before.eq(signal)
    m.d.comb += Assume(Mux(first, 1, signal == before))
    return signal
