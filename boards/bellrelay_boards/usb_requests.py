"""Class requests of a CDC-ACM port."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from luna.gateware.stream.generator import StreamSerializer
from luna.gateware.usb.stream import USBInStreamInterface
from luna.gateware.usb.usb2.request import USBRequestHandler
from usb_protocol.types import USBRequestType

__all__ = ["LINE_CODING", "AcmRequests"]

LINE_CODING = (115200).to_bytes(4, "little") + bytes([0, 0, 8])
"""Before the host sets one: 115200 baud, one stop bit, no parity, eight bits."""

_SET_LINE_CODING = 0x20
_GET_LINE_CODING = 0x21
_SET_CONTROL_LINE_STATE = 0x22


class AcmRequests(USBRequestHandler):
    """Line coding, kept and told but of no effect, and the control lines (CDC PSTN 1.2, 6.3).

    Attributes
    ----------
    terminal_ready : Signal
        DTR: a program has the port open.
    restart : Signal
        Back to the line coding and control lines of a device that was just plugged in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.terminal_ready = Signal()
        self.restart = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        handler, setup = self.interface, self.interface.setup
        size = len(LINE_CODING)
        coding = Array(
            Signal(8, init=byte, name=f"coding_{i}") for i, byte in enumerate(LINE_CODING)
        )
        incoming = Array(Signal(8, name=f"incoming_{i}") for i in range(size))
        place = Signal(range(size + 1))
        m.submodules.answer = answer = StreamSerializer(
            data_length=size, domain="usb", stream_type=USBInStreamInterface, max_length_width=3
        )
        m.d.comb += answer.max_length.eq(
            Mux(setup.length < size, setup.length[: len(answer.max_length)], size)
        )
        m.d.comb += [out.eq(byte) for out, byte in zip(answer.data, coding, strict=True)]
        # The setup packet stands until the next one: no state but the bytes that have arrived.
        with m.If(setup.received):
            m.d.usb += place.eq(0)
        with m.If(setup.type == USBRequestType.CLASS):
            m.d.comb += handler.claim.eq(1)
            with m.Switch(setup.request):
                with m.Case(_SET_LINE_CODING):
                    with m.If(handler.rx.valid & handler.rx.next & (place != size)):
                        m.d.usb += [incoming[place].eq(handler.rx.payload), place.eq(place + 1)]
                    with m.If(handler.rx_invalid):
                        m.d.usb += place.eq(0)
                    with m.If(handler.rx_ready_for_response):
                        m.d.comb += handler.handshakes_out.ack.eq(1)
                        with m.If(place == size):
                            m.d.usb += [a.eq(b) for a, b in zip(coding, incoming, strict=True)]
                    with m.If(handler.status_requested):
                        m.d.comb += self.send_zlp()
                with m.Case(_GET_LINE_CODING):
                    m.d.comb += [
                        answer.stream.attach(handler.tx),
                        answer.start.eq(handler.data_requested),
                        handler.handshakes_out.ack.eq(handler.status_requested),
                    ]
                with m.Case(_SET_CONTROL_LINE_STATE):
                    with m.If(handler.status_requested):
                        m.d.comb += self.send_zlp()
                        m.d.usb += self.terminal_ready.eq(setup.value[0])
                with m.Default():
                    m.d.comb += handler.handshakes_out.stall.eq(
                        handler.data_requested | handler.status_requested
                    )
        with m.If(self.restart):
            m.d.usb += self.terminal_ready.eq(0)
            m.d.usb += [byte.eq(value) for byte, value in zip(coding, LINE_CODING, strict=True)]
        return m
