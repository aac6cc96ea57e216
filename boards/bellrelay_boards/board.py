"""What a board's file must give: everything about it that the gateware does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.tap_check import LinePlace

from .clocks import SYNC_HZ

__all__ = ["Board", "Lamp", "Link", "PinUsb", "Programmer", "RelayPins", "Uart", "Ulpi"]


@dataclass(frozen=True)
class RelayPins:
    """Pins, as Amaranth's platforms name them: ``pmod_3:1`` for a connector's, else a ball.

    Attributes
    ----------
    detectors
        Inputs, in the order of the channels.
    sync, reference
        Inputs: the sync pulse, and 10 MHz.
    gates
        Outputs, one per detector.
    calibration
        Output: the calibration pulse, for a cable to an input.
    psi_minus, psi_plus
        Outputs: one clock high per outcome.
    loopback
        Outputs, one per channel: the pattern generator's pulses, for a cable to the inputs.
    io_type
        Standard of all of them.
    """

    detectors: tuple[str, ...]
    sync: str
    gates: tuple[str, ...]
    calibration: str
    psi_minus: str
    psi_plus: str
    reference: str
    loopback: tuple[str, ...]
    io_type: str = "LVCMOS33"

    def all(self) -> tuple[str, ...]:
        """Every pin."""
        return (
            *self.detectors,
            self.sync,
            *self.gates,
            self.calibration,
            self.psi_minus,
            self.psi_plus,
            self.reference,
            *self.loopback,
        )


@dataclass(frozen=True)
class Ulpi:
    """USB at high speed through a transceiver.

    Attributes
    ----------
    resource
        Its name in the platform.
    clock_from_board
        Whether the transceiver takes its 60 MHz from here; else it gives them.
    """

    resource: str = "ulpi"
    clock_from_board: bool = False


@dataclass(frozen=True)
class PinUsb:
    """USB at full speed on bare pins; the oscillator must be at 48 MHz."""

    resource: str = "usb"


@dataclass(frozen=True)
class Uart:
    """A serial line to a bridge on the board.

    Attributes
    ----------
    baud
        The fastest that both ends can.
    usb_ids
        Vendor and product of the bridge, by which its port is found.
    """

    resource: str = "uart"
    baud: int = 3_000_000
    usb_ids: tuple[int, int] = (0x0403, 0x6015)


Link = Ulpi | PinUsb | Uart


@dataclass(frozen=True)
class Lamp:
    """A light: name and number of the platform's resource, and which of its signals."""

    resource: str
    number: int = 0
    signal: str = "o"
    bit: int = 0


@dataclass(frozen=True)
class Programmer:
    """A program that brings a bitstream onto the board.

    Attributes
    ----------
    arguments
        Program and arguments; ``{bitstream}`` stands for the file.
    install
        Where to get it, as one line.
    before
        What a person must do first, as one line; empty if nothing.
    """

    arguments: tuple[str, ...]
    install: str
    before: str = ""


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes
    ----------
    name
        For commands and file names.
    title
        For people.
    platform
        Makes the platform of amaranth-boards: chip, package, speed grade, its own resources.
    geometry
        Of the relay; ``board`` is `name`, the clock period that of domain ``sync``.
    clock
        Resource of the oscillator, and its frequency in Hz.
    pins, lines
        Inputs and outputs; the delay line of each channel, near its pad.
    alive, locked, overflow
        Lights.
    lit
        Signals that must be on for the lights to work.
    link, programmer
    rails
        Volts of the supplies that the gateware itself has to regulate, in the order of the bits of
        the resource ``vccio_ctrl``.
    seed
        Of place and route, if a build names no other: one with which the clocks are met.

    Raises
    ------
    ValueError
        Naming what contradicts what.
    """

    name: str
    title: str
    platform: Callable[..., Any]
    geometry: BoardGeometry
    clock: tuple[str, int]
    pins: RelayPins
    lines: tuple[LinePlace, ...]
    alive: Lamp
    locked: Lamp
    overflow: Lamp
    link: Link
    programmer: Programmer
    lit: tuple[Lamp, ...] = ()
    rails: tuple[float, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        g = self.geometry
        if g.board != self.name:
            raise ValueError(f"{self.name}: geometry.board is {g.board!r}; allowed: {self.name!r}")
        if g.clock_period_ps * SYNC_HZ != 10**12:
            raise ValueError(
                f"{self.name}: geometry.clock_period_ps is {g.clock_period_ps}; "
                f"allowed: {10**12 // SYNC_HZ}"
            )
        for what, have, need in (
            ("detectors", len(self.pins.detectors), g.n_detectors),
            ("gates", len(self.pins.gates), g.n_detectors),
            ("loopback", len(self.pins.loopback), g.n_channels),
            ("lines", len(self.lines), g.n_channels),
        ):
            if have != need:
                raise ValueError(f"{self.name}: {have} {what}; allowed: {need}")
        pins = self.pins.all()
        twice = sorted({pin for pin in pins if pins.count(pin) > 1})
        if twice:
            raise ValueError(f"{self.name}: used twice: {', '.join(twice)}")
        if len({line.n_taps for line in self.lines}) != 1:
            raise ValueError(f"{self.name}: lines differ in n_taps; allowed: one length")
        if self.lines[0].n_taps >= 1 << (g.code_bits - 1):
            raise ValueError(
                f"{self.name}: lines of {self.lines[0].n_taps} taps; allowed: "
                f"fewer than {1 << (g.code_bits - 1)} at {g.code_bits} code_bits"
            )
        rows = [(line.y, line.x) for line in self.lines]
        if len(set(rows)) != len(rows):
            raise ValueError(f"{self.name}: two lines at one place")
        if isinstance(self.link, PinUsb) and self.clock[1] != 48_000_000:
            raise ValueError(f"{self.name}: clock is {self.clock[1]} Hz; allowed: 48 MHz (PinUsb)")
