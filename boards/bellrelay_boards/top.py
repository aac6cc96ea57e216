"""A whole board: clocks, front end, relay, link and lights on its pins."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs, Clock, Pins, Resource, Subsignal
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Module,
    Signal,
)
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

from bellrelay_gateware.fine_time import FineTime
from bellrelay_gateware.pattern_generator import PatternGenerator
from bellrelay_gateware.relay import Relay
from bellrelay_gateware.uart import UartReceiver, UartTransmitter

from .board import Board, Lamp, PinUsb, Uart, Ulpi
from .clocks import REFERENCE_HZ, SYNC_HZ, TAG_HZ, BoardClocks, Reference
from .lamps import Lamps
from .pll import Ecp5Pll, pll_dividers
from .supplies import Supplies
from .usb_serial import UsbSerial

__all__ = ["BoardTop", "prepared_platform"]

_ULPI_HZ = 60_000_000
_RESOURCE = "bellrelay"
_INPUTS = ("inputs", "reference")
_OUTPUTS = ("gates", "calibration", "psi_minus", "psi_plus", "loopback")


def prepared_platform(board: Board) -> Any:
    """The board's platform with the relay's pins added to it."""
    platform = board.platform()
    pins = board.pins

    def names(*pin: str) -> str:
        return " ".join(pin)

    platform.add_resources(
        [
            Resource(
                _RESOURCE,
                0,
                # In the order of the channels: the sync pulse comes last.
                Subsignal("inputs", Pins(names(*pins.detectors, pins.sync), dir="i")),
                Subsignal("gates", Pins(names(*pins.gates), dir="o")),
                Subsignal("calibration", Pins(pins.calibration, dir="o")),
                Subsignal("psi_minus", Pins(pins.psi_minus, dir="o")),
                Subsignal("psi_plus", Pins(pins.psi_plus, dir="o")),
                Subsignal("loopback", Pins(names(*pins.loopback), dir="o")),
                Subsignal("reference", Pins(pins.reference, dir="i"), Clock(REFERENCE_HZ)),
                Attrs(IO_TYPE=pins.io_type),
            )
        ]
    )
    return platform


class BoardTop(Elaboratable):
    """Everything on the chip.

    Parameters
    ----------
    board
    reference
        What the clocks follow, see :class:`~.clocks.BoardClocks`.
    serial
        Serial number on USB.
    git_revision
        For the identity block.
    """

    def __init__(
        self,
        board: Board,
        *,
        reference: Reference = "internal",
        serial: str = "0",
        git_revision: int = 0,
    ) -> None:
        self.board = board
        self._serial = serial
        extra: dict[str, int] = {}
        if isinstance(board.link, Ulpi) and board.link.clock_from_board:
            extra["usb"] = _ULPI_HZ
        self._clocks = BoardClocks(clock_hz=board.clock[1], reference=reference, extra=extra)
        self._fine_time = FineTime(board.geometry, board.lines)
        self.lines = self._fine_time.lines
        """Places of the delay lines by name, as the placed netlist must have them."""
        self._relay = Relay(board.geometry, git_revision=git_revision)
        usb = {Ulpi: (60.0,), PinUsb: (48.0, 12.0)}.get(type(board.link), ())
        own = [TAG_HZ, SYNC_HZ]
        if reference == "external" or board.rails:
            own.append(board.clock[1])  # else nothing runs on the oscillator itself
        self.clocks_mhz: tuple[float, ...] = (*(hz / 1e6 for hz in own), *usb)
        """Clocks that place and route must have been told of."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.clocks = clocks = self._clocks
        m.domains += clocks.domains.values()
        m.submodules.fine_time = fine_time = self._fine_time
        m.submodules.pattern = pattern = PatternGenerator(self.board.geometry)
        m.submodules.relay = relay = self._relay
        m.submodules.lamps = lamps = Lamps()

        oscillator = platform.request(self.board.clock[0], dir="-")
        m.submodules.oscillator = oscillator_pin = io.Buffer("i", oscillator)
        pins = platform.request(_RESOURCE, 0, dir=dict.fromkeys((*_INPUTS, *_OUTPUTS), "-"))
        buffers = {
            name: io.Buffer("i" if name in _INPUTS else "o", getattr(pins, name))
            for name in (*_INPUTS, *_OUTPUTS)
        }
        for name, buffer in buffers.items():
            m.submodules[f"pin_{name}"] = buffer
        m.d.comb += [
            fine_time.pins.eq(buffers["inputs"].i),
            clocks.reference.eq(buffers["reference"].i),
            buffers["calibration"].o.eq(fine_time.calibration),
            buffers["gates"].o.eq(relay.gate_out),
            buffers["psi_minus"].o.eq(relay.trigger_psi_minus),
            buffers["psi_plus"].o.eq(relay.trigger_psi_plus),
        ]
        m.d.comb += [
            clocks.oscillator.eq(oscillator_pin.i),
            relay.temperature.eq(fine_time.temperature),
            pattern.cell_start.eq(relay.cell_start),
        ]
        for name in ("status", "dropped", "blind", "load", "swap", "read_count"):
            m.d.comb += getattr(relay, f"fine_{name}").eq(getattr(fine_time, name))
        for name in ("control", "load_ready", "read_addr"):
            m.d.comb += getattr(fine_time, name).eq(getattr(relay, f"fine_{name}"))
        for name, member in relay.signature.members.items():
            if name.startswith("fine_"):
                ours, theirs = getattr(relay, name), getattr(fine_time, name.removeprefix("fine_"))
                m.d.comb += ours.eq(theirs) if member.flow == In else theirs.eq(ours)
        # What a self-test takes for hits, and what it lets out at the loop-back.
        with m.If(relay.pattern_source == 1):
            m.d.comb += relay.hits.eq(pattern.hits)
        with m.Else():
            m.d.comb += relay.hits.eq(fine_time.hits)
        with m.If(relay.pattern_source == 2):
            m.d.sync += buffers["loopback"].o.eq(pattern.pulses)
        with m.Else():
            m.d.sync += buffers["loopback"].o.eq(0)

        if self.board.rails:
            m.submodules.supplies = supplies = Supplies(
                self.board.rails, clock_hz=self.board.clock[1]
            )
            control = platform.request("vccio_ctrl")
            m.d.comb += [control.pdm.o.eq(supplies.density), control.en.o.eq(supplies.enable)]
            m.d.comb += clocks.ready.eq(supplies.good)
        self._add_link(m, platform)

        clocks_good = clocks.pll_locked
        if clocks.reference_kind == "external":
            clocks_good = clocks_good & clocks.reference_locked
        m.d.comb += [
            lamps.clocks_good.eq(clocks_good),
            lamps.link_valid.eq(relay.link_out.valid),
            lamps.link_ready.eq(relay.link_out.ready),
            lamps.fault.eq(relay.fault),
        ]
        self._add_lamps(m, platform, lamps)
        return m

    def _add_link(self, m: Module, platform: Any) -> None:
        link, relay = self.board.link, self._relay
        to_relay, from_relay = relay.link_in, relay.link_out
        if isinstance(link, Uart):
            port = platform.request(link.resource)
            m.submodules.receiver = receiver = UartReceiver(clock_hz=SYNC_HZ, baud=link.baud)
            m.submodules.transmitter = transmitter = UartTransmitter(
                clock_hz=SYNC_HZ, baud=link.baud
            )
            m.d.comb += [
                receiver.rx.eq(port.rx.i),
                port.tx.o.eq(transmitter.tx),
                to_relay.payload.eq(receiver.data.payload),
                to_relay.valid.eq(receiver.data.valid),
                transmitter.data.payload.eq(from_relay.payload),
                transmitter.data.valid.eq(from_relay.valid),
                from_relay.ready.eq(transmitter.data.ready),
            ]
            return
        bus = platform.request(link.resource)
        if isinstance(link, Ulpi):
            self._clock_ulpi(m, platform, link, bus)
        else:
            self._clock_pins(m)
        m.submodules.usb = usb = UsbSerial(
            bus, board=self.board.name, serial=self._serial, high_speed=isinstance(link, Ulpi)
        )
        m.d.comb += [
            to_relay.payload.eq(usb.rx.payload),
            to_relay.valid.eq(usb.rx.valid),
            usb.rx.ready.eq(1),
            usb.tx.payload.eq(from_relay.payload),
            usb.tx.valid.eq(from_relay.valid),
            from_relay.ready.eq(usb.tx.ready),
        ]

    def _clock_ulpi(self, m: Module, platform: Any, link: Ulpi, bus: Any) -> None:
        if link.clock_from_board:
            m.d.comb += bus.clk.o.eq(ClockSignal("usb"))
        else:
            # The reset of this domain goes to the transceiver, which must not lose the clock that
            # it gives: it stays low, and the chip's global net resets what is on this side.
            m.domains.usb = ClockDomain()
            clock = Signal(name="ulpi_clock", attrs={"keep": "true"})
            m.d.comb += [clock.eq(bus.clk.i), ClockSignal("usb").eq(clock)]
            platform.add_clock_constraint(clock, _ULPI_HZ)

    def _clock_pins(self, m: Module) -> None:
        """48 and 12 MHz from a loop of their own: the tagging clock's has no common multiple."""
        wanted = {"usb_io": 48_000_000, "usb": 12_000_000}
        m.submodules.usb_pll = pll = Ecp5Pll(pll_dividers(self.board.clock[1], wanted))
        m.d.comb += pll.reference.eq(ClockSignal("local"))
        for name in wanted:
            m.domains += ClockDomain(name)
            clock = getattr(pll, f"clk_{name}")
            m.d.comb += ClockSignal(name).eq(clock)
            m.submodules[f"reset_{name}"] = ResetSynchronizer(~pll.locked, domain=name)

    def _add_lamps(self, m: Module, platform: Any, lamps: Lamps) -> None:
        requested: dict[tuple[str, int], Any] = {}

        def pin(lamp: Lamp) -> Any:
            key = (lamp.resource, lamp.number)
            if key not in requested:
                requested[key] = platform.request(*key)
            resource = requested[key]
            signal = resource if lamp.signal == "o" else getattr(resource, lamp.signal)
            return signal.o[lamp.bit]

        board = self.board
        for lamp, value in (
            (board.alive, lamps.alive),
            (board.locked, lamps.locked),
            (board.overflow, lamps.overflow),
            *((lamp, Const(1, 1)) for lamp in board.lit),
        ):
            m.d.comb += pin(lamp).eq(value)
