"""Bulk IN endpoint: a byte stream to the packets that a host fetches."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from luna.gateware.usb.usb2.endpoint import EndpointInterface

__all__ = ["BulkIn"]


class BulkIn(Elaboratable):
    """One packet on its way to the host, the next one being filled; all in domain ``usb``.

    A packet is closed when it is full, or when no byte has come for ``linger`` clocks. After a
    full one without a successor the host is sent an empty packet, for its driver hands nothing
    over before a packet that is not full. A packet stays until the host acknowledges it, and an
    acknowledgement counts only if the last token on the bus asked this endpoint: those for other
    devices pass by here too.

    Parameters
    ----------
    number
        Of the endpoint, 1 to 15.
    max_packet
        Bytes of a full packet, a power of two: 512 at high speed, 64 at full speed.
    linger
        Clocks without a byte that close a packet.

    Attributes
    ----------
    interface : EndpointInterface
        For :meth:`luna.gateware.usb.usb2.device.USBDevice.add_endpoint`.
    data : stream.Signature(8), flipped
        Bytes to send.
    restart : Signal
        Drop what is held and begin with DATA0: the host has reset or configured the device.

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    def __init__(self, *, number: int, max_packet: int, linger: int = 64) -> None:
        if not 1 <= number <= 15:
            raise ValueError(f"number is {number}; allowed: 1 to 15")
        if max_packet not in (64, 512):
            raise ValueError(f"max_packet is {max_packet}; allowed: 64, 512")
        if linger < 1:
            raise ValueError(f"linger is {linger}; allowed: from 1")
        self._number = number
        self._max_packet = max_packet
        self._linger = linger
        self.interface = EndpointInterface()
        self.data = wiring.flipped(stream.Signature(8).create())
        self.restart = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, usb = self._max_packet, self.interface
        m.submodules.packets = packets = Memory(shape=8, depth=2 * size, init=[])
        write, read = packets.write_port(domain="usb"), packets.read_port(domain="usb")

        half = Signal()  # being filled; the other one is on its way
        filled = Signal(range(size + 1))
        quiet = Signal(range(self._linger + 1))
        owes_end = Signal()  # the packet before was full: silence after it is said
        closed = (filled == size) | ((quiet == self._linger) & ((filled != 0) | owes_end))
        take = self.data.valid & self.data.ready

        waiting = Signal()  # a packet is held for the host
        length = Signal(range(size + 1))
        place = Signal(range(size + 1))
        toggle = Signal()

        m.d.comb += [
            self.data.ready.eq(~closed),
            write.en.eq(take),
            write.data.eq(self.data.payload),
            write.addr.eq(Cat(filled[: len(filled) - 1], half)),
        ]
        m.d.usb += quiet.eq(Mux(take, 0, quiet + (quiet != self._linger)))
        with m.If(take):
            m.d.usb += filled.eq(filled + 1)
        with m.If(closed & ~waiting):
            m.d.usb += [
                waiting.eq(1),
                length.eq(filled),
                owes_end.eq(filled == size),
                half.eq(~half),
                filled.eq(0),
                quiet.eq(0),
            ]

        asked = usb.tokenizer.is_in & (usb.tokenizer.endpoint == self._number)
        answer = asked & usb.tokenizer.ready_for_response
        last = place + 1 == length
        m.d.comb += [
            usb.tx_pid_toggle.eq(toggle),
            usb.tx.payload.eq(read.data),
            read.addr.eq(Cat(place[: len(place) - 1], ~half)),
        ]
        halted = usb.clear_endpoint_halt_in
        with m.If(halted.enable & halted.direction & (halted.number == self._number)):
            m.d.usb += toggle.eq(0)
        with m.FSM(domain="usb"):
            with m.State("IDLE"):
                m.d.usb += place.eq(0)
                with m.If(answer & ~waiting):
                    m.d.comb += usb.handshakes_out.nak.eq(1)
                with m.Elif(answer & (length == 0)):
                    m.d.comb += [usb.tx.valid.eq(1), usb.tx.last.eq(1)]
                    m.next = "SENT"
                with m.Elif(answer):
                    m.d.usb += usb.tx.first.eq(1)
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [usb.tx.valid.eq(1), usb.tx.last.eq(last)]
                with m.If(usb.tx.ready):
                    m.d.comb += read.addr.eq(Cat((place + 1)[: len(place) - 1], ~half))
                    m.d.usb += [place.eq(place + 1), usb.tx.first.eq(0)]
                    with m.If(last):
                        m.next = "SENT"
            with m.State("SENT"):
                m.d.usb += place.eq(0)
                with m.If(usb.tokenizer.new_token | ~asked):
                    m.next = "IDLE"  # whatever was asked next, it was not acknowledged
                with m.Elif(usb.handshakes_in.ack):
                    m.d.usb += [waiting.eq(0), toggle.eq(~toggle)]
                    m.next = "IDLE"
        with m.If(self.restart):
            m.d.usb += [
                toggle.eq(0),
                waiting.eq(0),
                owes_end.eq(0),
                filled.eq(0),
            ]
        return m
