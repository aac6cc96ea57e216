"""Whether an external reference is there and as fast as it should be."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["ReferenceMonitor"]


class ReferenceMonitor(wiring.Component):
    """Counts edges of a reference over windows of the local clock.

    In every window of ``window`` local clocks the count must lie within ``tolerance`` edges of
    what the frequencies say; ``reference_locked`` rises after ``windows`` good ones in a row and
    falls with the first bad one. A reference that stops is seen within one window. The two edges
    that the window's ends can gain or lose are within any tolerance.

    Parameters
    ----------
    clock_hz, reference_hz
        Of domain ``local`` and of the pin; the clock more than twice as fast, so that each half of
        the reference's period (40 to 60 % of it are allowed at 2.5) meets a clock edge.
    tolerance_ppm
        Largest relative deviation, at least two edges of a window.
    window
        Local clocks per window.
    windows
        Good windows until locked.

    Members
    -------
    pin : In(1), asynchronous
    reference_locked : Out(1), in ``local``
    deviation : Out(signed 16), in ``local``: edges counted less edges expected in the last window

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    def __init__(
        self,
        *,
        clock_hz: int,
        reference_hz: int = 10_000_000,
        tolerance_ppm: int = 100,
        window: int = 1 << 20,
        windows: int = 4,
    ) -> None:
        if not 1 <= reference_hz * 5 <= clock_hz * 2:
            raise ValueError(f"reference_hz is {reference_hz}; allowed: 1 to {clock_hz * 2 // 5}")
        if window * reference_hz < 100 * clock_hz:
            raise ValueError(f"window is {window}; allowed: from 100 periods of the reference")
        if windows < 1:
            raise ValueError(f"windows is {windows}; allowed: from 1")
        self.expected = window * reference_hz // clock_hz
        self.tolerance = max(2, self.expected * tolerance_ppm // 1_000_000)
        if self.tolerance >= 1 << 15:
            raise ValueError(f"tolerance_ppm is {tolerance_ppm}; allowed: 32767 edges of a window")
        self._window = window
        self._windows = windows
        super().__init__({"pin": In(1), "reference_locked": Out(1), "deviation": Out(16)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        level, before = Signal(), Signal()
        m.submodules.pin = FFSynchronizer(self.pin, level, o_domain="local")
        left = Signal(range(self._window), init=self._window - 1)
        count = Signal(range(2 * self.expected))
        good = Signal(range(self._windows + 1))
        within = Signal()
        edge = level & ~before
        # A pin that carries far more edges than expected stays at the end of the counter.
        full = count == 2 * self.expected - 1
        m.d.comb += within.eq(
            (count >= self.expected - self.tolerance) & (count <= self.expected + self.tolerance)
        )
        m.d.local += [before.eq(level), left.eq(left - 1), count.eq(count + (edge & ~full))]
        with m.If(left == 0):
            m.d.local += [
                left.eq(self._window - 1),
                count.eq(edge),
                self.deviation.eq(count - self.expected),
                good.eq(0),
            ]
            with m.If(within):
                m.d.local += good.eq(good + (good != self._windows))
        m.d.comb += self.reference_locked.eq(good == self._windows)
        return m
