"""Sampled delay lines in, calibrated hits out: fine time without what only a chip has."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .calibrator import Calibrator
from .tap_timing import TapTiming

__all__ = ["CalibratedTiming"]


class CalibratedTiming(wiring.Component):
    """:class:`~.tap_timing.TapTiming` and :class:`~.calibrator.Calibrator`.

    Parameters
    ----------
    geometry
        Of the cells.
    n_taps
        Taps per channel, as in :class:`~.tap_timing.TapTiming`.
    calibration
        Parameters of :class:`~.calibrator.Calibrator` beside the geometry.

    Members
    -------
    taps : In, ``n_channels`` x ``n_taps`` bits, ``tag``
    select : Out(n_channels): the line takes the calibration source for its pin
    dropped : Out, per channel 48 bits: hits dropped as second in their cell or too soon after the
        last one, those of a blind channel not counted; modulo 2**48
    hits, blind, temperature, control, status, load, load_ready, swap, read_addr, read_count,
    read_time
        As in :class:`~.calibrator.Calibrator`, ``sync``.
    """

    def __init__(self, geometry: BoardGeometry, n_taps: int, **calibration: Any) -> None:
        self.geometry = geometry
        self._timing = TapTiming(geometry, n_taps)
        self._calibrator = Calibrator(geometry, **calibration)
        members = dict(self._calibrator.signature.members)
        del members["raw"]
        self._passed_on = list(members)
        super().__init__(
            {
                **members,
                "taps": In(data.ArrayLayout(n_taps, geometry.n_channels)),
                "dropped": Out(data.ArrayLayout(48, geometry.n_channels)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.timing = timing = self._timing
        m.submodules.calibrator = calibrator = self._calibrator
        m.d.comb += [timing.taps.eq(self.taps), calibrator.raw.eq(timing.hits)]
        for name in self._passed_on:
            inner, outer = getattr(calibrator, name), getattr(self, name)
            inwards = calibrator.signature.members[name].flow == In
            m.d.comb += inner.eq(outer) if inwards else outer.eq(inner)
        for channel, count in enumerate(self.dropped):
            with m.If(timing.dropped[channel] & ~self.blind[channel]):
                m.d.sync += count.eq(count + 1)
        return m
