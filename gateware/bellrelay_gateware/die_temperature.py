"""Temperature of the die."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["CELSIUS", "DieTemperature", "TemperatureReader"]

CELSIUS = (
    *(-58, -56, -54, -52, -45, -44, -43, -42, -41, -40, -39, -38, -37, -36, -30, -20),
    *(-10, -4, 0, 4, 10, 21, 22, 23, 24, 25, 26, 27, 28, 29, 40, 50),
    *(60, 70, 76, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 95, 96, 97),
    *(98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 116, 120, 124, 128, 132),
)
"""Degrees by the sensor's code (Lattice FPGA-TN-02210, equivalent junction temperatures).

Fine around 25, 85 and 100 degrees, with steps of up to 11 degrees between: a calibration that has
to follow less than that needs the schedule too.
"""

_PULSE_CLOCKS = 64


class TemperatureReader(wiring.Component):
    """Starts the sensor again and again, and reads it when it has long been done.

    Parameters
    ----------
    interval_clocks
        From one start to the next, from 256; the sensor is read after half of it.

    Members
    -------
    start : Out(1), code : In(8): the sensor's STARTPULSE and DTROUT, bit 7 says valid
    mdegc : Out(signed(32)), millidegrees Celsius, 0 until ``valid``
    valid : Out(1), there has been a reading
    """

    def __init__(self, *, interval_clocks: int = 1 << 20) -> None:
        if interval_clocks < 256:
            raise ValueError(f"interval_clocks is {interval_clocks!r}; allowed: from 256")
        self.interval_clocks = interval_clocks
        super().__init__(
            {"start": Out(1), "code": In(8), "mdegc": Out(signed(32)), "valid": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock = Signal(range(self.interval_clocks))
        code = Signal(8)
        m.submodules.code = FFSynchronizer(self.code, code)
        m.d.sync += [
            clock.eq(clock + 1),
            self.start.eq(clock < _PULSE_CLOCKS),
        ]
        with m.If(clock == self.interval_clocks - 1):
            m.d.sync += clock.eq(0)
        table = Array(Const(1000 * degrees, signed(32)) for degrees in CELSIUS)
        with m.If((clock == self.interval_clocks // 2) & code[7]):
            m.d.sync += [self.mdegc.eq(table[code[:6]]), self.valid.eq(1)]
        return m


class DieTemperature(wiring.Component):
    """An ECP5's own sensor, read about a hundred times a second at 100 MHz.

    Members
    -------
    mdegc : Out(signed(32)), valid : Out(1)
        As in :class:`TemperatureReader`.
    """

    def __init__(self) -> None:
        super().__init__({"mdegc": Out(signed(32)), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = TemperatureReader()
        m.submodules.sensor = Instance(
            "DTR",
            i_STARTPULSE=reader.start,
            **{f"o_DTROUT{bit}": reader.code[bit] for bit in range(8)},
        )
        m.d.comb += [self.mdegc.eq(reader.mdegc), self.valid.eq(reader.valid)]
        return m
