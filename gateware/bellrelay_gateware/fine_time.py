"""Fine time on ECP5: pins in, calibrated hits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .calibrated_timing import CalibratedTiming
from .calibration_source import CalibrationSource
from .die_temperature import DieTemperature
from .tap_check import LinePlace
from .tapped_line import TappedLine

__all__ = ["FineTime"]


class FineTime(wiring.Component):
    """A delay line per channel, its calibration, and the two sources that this needs.

    Needs the domains ``tag`` (the lines are sampled and encoded) and ``sync`` at half its rate, in
    phase. ``hits`` goes to the relay in the place of any other front end; ``load``, ``load_ready``
    and ``swap`` to its :class:`~.fine_lookup.FineLookup`.

    Parameters
    ----------
    geometry
        Of the cells: ``clock_period_ps`` is that of ``sync``; ``code_bits`` one more than lines of
        this length need, 9 for up to 255 taps.
    places
        One line per channel, the sync channel last, all of the same length.
    calibration
        Parameters of :class:`~.calibrator.Calibrator` beside the geometry.

    Members
    -------
    pins : In(n_channels), asynchronous, high while a pulse lasts
    calibration : Out(1), asynchronous: the calibration source, for a pin of the board; it pulses
        while a channel is blind
    temperature : Out(signed(32)), of the die, millidegrees Celsius
    hits, blind, dropped, control, status, load, load_ready, swap, read_addr, read_count, read_time
        As in :class:`~.calibrated_timing.CalibratedTiming`.

    Raises
    ------
    ValueError
        For places that are not one per channel, not of one length, or overlap.
    """

    def __init__(
        self, geometry: BoardGeometry, places: Sequence[LinePlace], **calibration: Any
    ) -> None:
        n = geometry.n_channels
        if len(places) != n or len({place.n_taps for place in places}) != 1:
            raise ValueError(f"places is {places!r}; allowed: {n} lines of one length")
        cells = [place.carry(cell) for place in places for cell in range(place.n_taps + 1)]
        if len(set(cells)) != len(cells):
            raise ValueError(f"places is {places!r}; allowed: lines that do not overlap")
        self.geometry = geometry
        self.lines = {f"channel{k}": place for k, place in enumerate(places)}
        """Places by name of the line, for :func:`~.tap_check.check_taps`."""
        self._timing = CalibratedTiming(geometry, places[0].n_taps, **calibration)
        members = dict(self._timing.signature.members)
        for inner in ("taps", "select", "temperature"):
            del members[inner]
        self._passed_on = list(members)
        super().__init__(
            {
                **members,
                "pins": In(n),
                "calibration": Out(1),
                "temperature": Out(self._timing.temperature.shape()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.timing = timing = self._timing
        m.submodules.source = source = CalibrationSource(self.geometry.n_channels)
        m.submodules.die = die = DieTemperature()
        m.d.comb += [
            source.enable.eq(timing.blind.any()),
            source.select.eq(timing.select),
            self.calibration.eq(source.o),
            self.temperature.eq(die.mdegc),
            timing.temperature.eq(die.mdegc),
        ]
        for name in self._passed_on:
            inner, outer = getattr(timing, name), getattr(self, name)
            inwards = timing.signature.members[name].flow == In
            m.d.comb += inner.eq(outer) if inwards else outer.eq(inner)
        for k, (name, place) in enumerate(self.lines.items()):
            m.submodules[name] = line = TappedLine(place, name=name)
            m.d.comb += [
                line.pulse.eq(Mux(source.selected[k], source.o, self.pins[k])),
                timing.taps[k].eq(line.taps),
            ]
        return m
