"""Supplies that the gateware regulates, on boards where it must."""

from __future__ import annotations

import math

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["Supplies", "control_fraction"]

# ButterStick r1.0: a buck converter that holds its feedback node at 0.6 V. A set resistor to
# ground draws a constant current out of that node; what the control pin does not give through
# its own resistor comes from the output through the feedback resistor.
_FEEDBACK_VOLTS = 0.6
_SET_OHMS, _FEEDBACK_OHMS, _CONTROL_OHMS = 13_000, 53_600, 68_000
_CONTROL_FARADS = 0.1e-6
_PIN_VOLTS = 3.3
_BITS = 10


def control_fraction(volts: float) -> float:
    """Mean level of the control pin, 0 to 1, that makes this output.

    Raises
    ------
    ValueError
        Out of 1.0 to 3.3 V.
    """
    if not 1.0 <= volts <= 3.3:
        raise ValueError(f"volts is {volts}; allowed: 1.0 to 3.3")
    drawn = _FEEDBACK_VOLTS / _SET_OHMS
    through_feedback = (volts - _FEEDBACK_VOLTS) / _FEEDBACK_OHMS
    return (_FEEDBACK_VOLTS + (drawn - through_feedback) * _CONTROL_OHMS) / _PIN_VOLTS


class Supplies(wiring.Component):
    """Control pins by pulse density, then enable, then the word that all is well; in ``local``.

    Enable rises when the control pins' filters have settled (ten time constants), ``good`` 1 ms
    later, which the regulators take to start.

    Parameters
    ----------
    rails
        Volts per control pin.
    clock_hz
        Of ``local``.

    Members
    -------
    density : Out(len(rails)), enable : Out(1), good : Out(1)
    """

    def __init__(self, rails: tuple[float, ...], *, clock_hz: int) -> None:
        self._levels = [round(control_fraction(volts) * (1 << _BITS)) for volts in rails]
        settle = 10 * _CONTROL_OHMS * _CONTROL_FARADS
        self._settled = math.ceil(settle * clock_hz)
        self._started = self._settled + math.ceil(1e-3 * clock_hz)
        super().__init__({"density": Out(len(rails)), "enable": Out(1), "good": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks = Signal(range(self._started + 1))
        m.d.local += clocks.eq(clocks + (clocks != self._started))
        m.d.comb += [
            self.enable.eq(clocks >= self._settled),
            self.good.eq(clocks == self._started),
        ]
        for pin, level in enumerate(self._levels):
            # First-order sigma-delta: the carry of an accumulator.
            total = Signal(_BITS + 1, name=f"total_{pin}")
            m.d.local += total.eq(total[:_BITS] + level)
            m.d.comb += self.density[pin].eq(total[_BITS])
        return m
