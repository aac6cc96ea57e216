"""CRC-32 of frames at one word per clock, with little logic in its loop."""

from __future__ import annotations

import zlib
from functools import reduce
from operator import xor

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FrameCrc"]

_ONES = 0xFFFF_FFFF


class FrameCrc(wiring.Component):
    """CRC-32 (IEEE 802.3) of one datum per clock.

    It is linear: the next state is the sum of what the state and what the datum make of it. The
    datum's share is worked out one clock ahead, so that only the state's own lies in the loop.

    Parameters
    ----------
    data_width
        A multiple of 8, at most 32: bytes come lowest first.
    before
        ``start`` sets the CRC to what it is after these bytes.

    Members
    -------
    start : In(1), valid : In(1), data : In(data_width)
        ``start`` comes before the datum of its own clock.
    crc : Out(32), two clocks after a datum
    """

    LATENCY = 2

    def __init__(self, data_width: int, before: bytes = b"") -> None:
        if data_width not in (8, 16, 24, 32):
            raise ValueError(f"data_width is {data_width!r}; allowed: 8, 16, 24, 32")
        self._width = data_width
        self._initial = zlib.crc32(before) ^ _ONES
        super().__init__({"start": In(1), "valid": In(1), "data": In(data_width), "crc": Out(32)})

    def _moved(self, state: int, datum: int) -> int:
        """State after a datum; linear in both."""
        return zlib.crc32(datum.to_bytes(self._width // 8, "little"), state ^ _ONES) ^ _ONES

    def _combined(self, bits: Value, columns: list[int]) -> list[Value]:
        """Product of a matrix, by columns, and bits."""
        return [
            reduce(xor, [bits[k] for k, c in enumerate(columns) if c >> row & 1], Const(0, 1))
            for row in range(32)
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state, share = Signal(32, init=self._initial), Signal(32)
        starts, valid = Signal(), Signal()
        of_datum = self._combined(self.data, [self._moved(0, 1 << k) for k in range(self._width)])
        of_state = self._combined(state, [self._moved(1 << k, 0) for k in range(32)])
        restarted = self._moved(self._initial, 0)
        m.d.sync += [starts.eq(self.start), valid.eq(self.valid)]
        for row in range(32):
            kept = Mux(starts, restarted >> row & 1, of_state[row])
            m.d.sync += share[row].eq(of_datum[row])
            with m.If(valid):
                m.d.sync += state[row].eq(kept ^ share[row])
            with m.Elif(starts):
                m.d.sync += state[row].eq(self._initial >> row & 1)
        m.d.comb += self.crc.eq(~state)
        return m
