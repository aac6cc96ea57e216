"""What the board says of itself when a host enumerates it."""

from __future__ import annotations

from typing import Any

from usb_protocol.emitters import DeviceDescriptorCollection
from usb_protocol.emitters.descriptors import cdc
from usb_protocol.types import USBTransferType

__all__ = [
    "DATA_ENDPOINT",
    "NOTICE_ENDPOINT",
    "PRODUCT_ID",
    "VENDOR_ID",
    "port_descriptors",
]

VENDOR_ID = 0x1209
"""The vendor id that pid.codes lends to open hardware."""
PRODUCT_ID = 0x0001
"""From its range for tests: a product that is sold needs one of its own."""
DATA_ENDPOINT = 4
NOTICE_ENDPOINT = 3

_COMMUNICATIONS, _ABSTRACT_CONTROL, _DATA = 0x02, 0x02, 0x0A
_NO_PROTOCOL = 0x00


def port_descriptors(*, board: str, serial: str, max_packet: int) -> Any:
    """Descriptors of a CDC-ACM port (CDC 1.2, PSTN 1.2).

    Parameters
    ----------
    board
        Name of the board; the product string is ``bellrelay NAME``.
    serial
        Serial number: what tells boards of one kind apart.
    max_packet
        Bytes of a full packet of the data endpoints.

    Raises
    ------
    ValueError
        A serial number that is empty, or has characters that a file name cannot have.
    """
    if not serial or not serial.isascii() or not serial.replace("-", "").isalnum():
        raise ValueError(f"serial is {serial!r}; allowed: letters, digits and hyphens")
    out = DeviceDescriptorCollection()
    with out.DeviceDescriptor() as device:
        device.bcdUSB = 2.00
        device.bDeviceClass = 0xEF  # the functions are told by interface association
        device.bDeviceSubclass = 0x02
        device.bDeviceProtocol = 0x01
        device.idVendor = VENDOR_ID
        device.idProduct = PRODUCT_ID
        device.iManufacturer = "bellrelay"
        device.iProduct = f"bellrelay {board}"
        device.iSerialNumber = serial
        device.bNumConfigurations = 1
    with out.ConfigurationDescriptor() as configuration:
        with configuration.InterfaceAssociationDescriptor() as both:
            both.bFirstInterface = 0
            both.bInterfaceCount = 2
            both.bFunctionClass = _COMMUNICATIONS
            both.bFunctionSubClass = _ABSTRACT_CONTROL
            both.bFunctionProtocol = _NO_PROTOCOL
        with configuration.InterfaceDescriptor() as control:
            control.bInterfaceNumber = 0
            control.bInterfaceClass = _COMMUNICATIONS
            control.bInterfaceSubclass = _ABSTRACT_CONTROL
            control.bInterfaceProtocol = _NO_PROTOCOL
            control.add_subordinate_descriptor(cdc.HeaderDescriptorEmitter())
            management = cdc.CallManagementFunctionalDescriptorEmitter()
            management.bDataInterface = 1
            control.add_subordinate_descriptor(management)
            control.add_subordinate_descriptor(cdc.ACMFunctionalDescriptorEmitter())
            union = cdc.UnionFunctionalDescriptorEmitter()
            union.bControlInterface = 0
            union.bSubordinateInterface0 = 1
            control.add_subordinate_descriptor(union)
            with control.EndpointDescriptor() as notices:
                notices.bEndpointAddress = 0x80 | NOTICE_ENDPOINT
                notices.bmAttributes = USBTransferType.INTERRUPT
                notices.wMaxPacketSize = 8
                notices.bInterval = 11
        with configuration.InterfaceDescriptor() as data:
            data.bInterfaceNumber = 1
            data.bInterfaceClass = _DATA
            data.bInterfaceSubclass = 0
            data.bInterfaceProtocol = _NO_PROTOCOL
            for direction in (0x80, 0x00):
                with data.EndpointDescriptor() as bulk:
                    bulk.bEndpointAddress = direction | DATA_ENDPOINT
                    bulk.bmAttributes = USBTransferType.BULK
                    bulk.wMaxPacketSize = max_packet
    return out
