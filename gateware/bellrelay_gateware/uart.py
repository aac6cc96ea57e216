"""Asynchronous serial line, 8N1, as a pair of byte streams."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "phase_step"]

_FRACTION = 24


def phase_step(clock_hz: int, baud: int, low: int) -> int:
    """Phase per clock, where a bit is ``2**24``; ``low`` clocks per bit are the fewest allowed.

    Raises
    ------
    ValueError
        Fewer clocks per bit.
    """
    if not 1 <= baud * low <= clock_hz:
        raise ValueError(f"baud is {baud}; allowed: 1 to {clock_hz // low} at {clock_hz} Hz")
    return round((1 << _FRACTION) * baud / clock_hz)


class UartTransmitter(wiring.Component):
    """Bytes to a line. Bit edges are at the nearest clock: no error accumulates.

    Parameters
    ----------
    clock_hz, baud
        Any ratio from 2 up; the bit rate is exact to 2**-24 of the clock.

    Members
    -------
    data : In(stream of bytes); tx : Out(1), idle high
    """

    def __init__(self, *, clock_hz: int, baud: int) -> None:
        self._phase_step = phase_step(clock_hz, baud, 2)
        super().__init__({"data": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase = Signal(_FRACTION + 1)
        shift, left = Signal(10), Signal(range(11))
        edge = phase[_FRACTION]
        idle, last = Signal(init=1), Signal()  # left is 0, 1
        m.d.comb += self.data.ready.eq(idle | (last & edge))
        m.d.sync += phase.eq(phase[:_FRACTION] + self._phase_step)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [
                shift.eq(Cat(self.data.payload, Const(1, 1))),
                left.eq(10),
                idle.eq(0),
                last.eq(0),
                self.tx.eq(0),
            ]
            with m.If(idle):
                m.d.sync += phase.eq(self._phase_step)
        with m.Elif(edge & ~idle):
            m.d.sync += [
                left.eq(left - 1),
                idle.eq(last),
                last.eq(left == 2),
                self.tx.eq(shift[0] | last),
            ]
            m.d.sync += shift.eq(Cat(shift[1:], Const(1, 1)))
        return m


class UartReceiver(wiring.Component):
    """A line to bytes: each bit is sampled in its middle, counted from the start bit's edge.

    Parameters
    ----------
    clock_hz, baud
        Any ratio from 4 up.

    Members
    -------
    rx : In(1), asynchronous, idle high
    data : Out({payload, valid}): a byte when ``valid``; there is no ready, it is taken at once
    framing_error : Out(1)
        Strobe: the stop bit was low; the byte is dropped.
    """

    def __init__(self, *, clock_hz: int, baud: int) -> None:
        self._phase_step = phase_step(clock_hz, baud, 4)
        super().__init__(
            {
                "rx": In(1, init=1),
                "data": Out(stream.Signature(8, always_ready=True)),
                "framing_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line, before = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        phase = Signal(_FRACTION + 1)
        shift, bit = Signal(8), Signal(range(10))
        middle = phase[_FRACTION]
        m.d.sync += [before.eq(line), self.data.valid.eq(0), self.framing_error.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                # Half a bit, less the clock that the edge is seen late.
                m.d.sync += [phase.eq((1 << (_FRACTION - 1)) + self._phase_step), bit.eq(0)]
                with m.If(before & ~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += phase.eq(phase[:_FRACTION] + self._phase_step)
                with m.If(middle):
                    m.d.sync += bit.eq(bit + 1)
                    with m.If(bit == 0):
                        with m.If(line):
                            m.next = "IDLE"
                    with m.Elif(bit == 9):
                        with m.If(line):
                            m.d.sync += [self.data.valid.eq(1), self.data.payload.eq(shift)]
                        with m.Else():
                            m.d.sync += self.framing_error.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.d.sync += shift.eq(Cat(shift[1:], line))
        return m
