"""The board's link as a serial port on USB.

The protocol engine is LUNA's; this is all of ours that knows of it, together with
:mod:`.usb_bulk_in`, :mod:`.usb_requests` and :mod:`.usb_descriptors`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from luna.gateware.usb.usb2.device import USBDevice
from luna.gateware.usb.usb2.endpoints.stream import USBStreamOutEndpoint

from .usb_bulk_in import BulkIn
from .usb_descriptors import DATA_ENDPOINT, NOTICE_ENDPOINT, port_descriptors
from .usb_requests import AcmRequests

__all__ = ["UsbSerial"]

_QUEUE = 32
"""Bytes between the clocks: the two sides' synchronisers, and some to spare."""


class UsbSerial(wiring.Component):
    """CDC-ACM device between two byte streams in ``sync`` and a USB transceiver.

    Domain ``usb`` is made elsewhere: 60 MHz with a ULPI transceiver, 12 MHz (and ``usb_io`` at
    48 MHz) with bare pins. At a bus reset and at each SET_CONFIGURATION both data endpoints begin
    anew with DATA0, and what they held is dropped: the frames' sequence numbers tell.

    Parameters
    ----------
    bus
        What LUNA takes: a ULPI bus, a pair of pins, or a UTMI record.
    board, serial
        For the descriptors, see :func:`~.usb_descriptors.port_descriptors`.
    high_speed
        Whether the transceiver can: packets are 512 bytes then, else 64.

    Members
    -------
    tx : In(stream of bytes), to the host
    rx : Out(stream of bytes), from the host
    configured : Out(1): a host has chosen the configuration
    terminal_ready : Out(1): a program has the port open (DTR)
    """

    def __init__(self, bus: Any, *, board: str, serial: str, high_speed: bool) -> None:
        self._max_packet = 512 if high_speed else 64
        self.descriptors = port_descriptors(board=board, serial=serial, max_packet=self._max_packet)
        if hasattr(bus, "dir"):
            self._device = USBDevice(bus=bus, handle_clocking=False)
        else:
            self._device = USBDevice(bus=bus)
        if high_speed:
            self._device.always_fs = False
            self._device.data_clock = 60e6
        super().__init__(
            {
                "tx": In(stream.Signature(8)),
                "rx": Out(stream.Signature(8)),
                "configured": Out(1),
                "terminal_ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.device = device = self._device
        control = device.add_standard_control_endpoint(self.descriptors)
        requests = AcmRequests()
        control.add_request_handler(requests)
        size = self._max_packet
        notices = BulkIn(number=NOTICE_ENDPOINT, max_packet=64)
        to_host = BulkIn(number=DATA_ENDPOINT, max_packet=size)
        restart = device.reset_detected | control.interface.config_changed
        from_host = ResetInserter({"usb": restart})(
            USBStreamOutEndpoint(
                endpoint_number=DATA_ENDPOINT, max_packet_size=size, buffer_size=4 * size - 1
            )
        )
        for endpoint in (notices, to_host, from_host):
            device.add_endpoint(endpoint)
        m.d.comb += [
            device.connect.eq(1),
            to_host.restart.eq(restart),
            notices.restart.eq(restart),
            requests.restart.eq(restart),
        ]

        m.submodules.out_queue = out_queue = AsyncFIFOBuffered(
            width=8, depth=_QUEUE, w_domain="sync", r_domain="usb"
        )
        m.submodules.in_queue = in_queue = AsyncFIFOBuffered(
            width=8, depth=_QUEUE, w_domain="usb", r_domain="sync"
        )
        configured = control.interface.active_config != 0
        m.d.comb += [
            out_queue.w_data.eq(self.tx.payload),
            out_queue.w_en.eq(self.tx.valid),
            self.tx.ready.eq(out_queue.w_rdy),
            to_host.data.payload.eq(out_queue.r_data),
            to_host.data.valid.eq(out_queue.r_rdy & configured),
            out_queue.r_en.eq(to_host.data.ready & configured),
            in_queue.w_data.eq(from_host.stream.payload),
            in_queue.w_en.eq(from_host.stream.valid),
            from_host.stream.ready.eq(in_queue.w_rdy),
            self.rx.payload.eq(in_queue.r_data),
            self.rx.valid.eq(in_queue.r_rdy),
            in_queue.r_en.eq(self.rx.ready),
        ]
        m.submodules.configured = FFSynchronizer(configured, self.configured)
        m.submodules.terminal = FFSynchronizer(requests.terminal_ready, self.terminal_ready)
        return m
