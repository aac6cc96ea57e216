"""A USB 2.0 host, as a model at the UTMI interface, clock by clock.

It speaks and hears whole packets with the overheads of the wire between them, so that what it
counts in a microframe is what the bus would carry. Faults are injected per transaction: an answer
that gets lost on its way to the host, an acknowledgement that gets lost on its way to the device, a
packet damaged on the way, tokens and acknowledgements for other devices on the same bus.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

OUT, IN, SOF, SETUP, PING = 0xE1, 0x69, 0xA5, 0x2D, 0xB4
DATA0, DATA1 = 0xC3, 0x4B
ACK, NAK, STALL, NYET = 0xD2, 0x5A, 0x1E, 0x96

SYNC_AND_END = 5
"""Clocks of 8 bits that a packet takes on the wire beside its bytes: 32 bits SYNC, 8 bits EOP."""
GAP = 11
"""Clocks between packets of the host: 88 bit times [USB 2.0: 7.1.18.2]."""
TIMEOUT = 102
"""Clocks after which the host gives up an answer: 816 bit times [USB 2.0: 7.1.19.2]."""
MICROFRAME = 7500

FULL_SPEED_J, SE0, K, J = 1, 0, 2, 1


def crc16(data: bytes) -> bytes:
    """CRC of a data packet, as sent."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return (value ^ 0xFFFF).to_bytes(2, "little")


def token(pid: int, address: int, endpoint: int) -> bytes:
    """A token packet."""
    bits = address | endpoint << 7
    value = 0x1F
    for i in range(11):
        top = (value >> 4 ^ bits >> i) & 1
        value = (value << 1 & 0x1F) ^ (0x05 if top else 0)
    check = int(f"{value ^ 0x1F:05b}"[::-1], 2)
    return bytes([pid]) + (bits | check << 11).to_bytes(2, "little")


class Stalled(Exception):
    """The device stalls the request."""


@dataclass
class Faults:
    """Probability of each fault, per transaction."""

    lost_answer: float = 0.0
    lost_ack: float = 0.0
    damaged: float = 0.0
    foreign: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def hit(self, probability: float) -> bool:
        """Whether it happens this time."""
        return probability > 0 and self.rng.random() < probability


@dataclass
class UsbHost:
    """One host; ``ctx`` is the simulator's, ``bus`` the UTMI record."""

    ctx: Any
    bus: Any
    address: int = 0
    clock: int = 0
    faults: Faults = field(default_factory=Faults)
    toggles: dict[tuple[str, int], int] = field(default_factory=dict)
    naks: int = 0
    zero_length: int = 0
    retries: int = 0
    idle: int = SE0

    async def wait(self, clocks: int) -> None:
        """Let the bus idle."""
        if clocks > 0:
            self.clock += clocks
            await self.ctx.tick("usb").repeat(clocks)

    async def plug_in_and_chirp(self) -> None:
        """Reset the device, and answer its chirp as a high-speed host does."""
        ctx, bus = self.ctx, self.bus
        ctx.set(bus.tx_ready, 1)
        ctx.set(bus.line_state, FULL_SPEED_J)
        await self.wait(20)
        ctx.set(bus.line_state, SE0)
        for _ in range(2000):
            await self.wait(1)
            if ctx.get(bus.tx_valid) and ctx.get(bus.op_mode) == 2:
                break
        else:
            raise AssertionError("no chirp from the device")
        while ctx.get(bus.tx_valid):
            await self.wait(1)
        for _ in range(3):
            for state in (K, J):
                ctx.set(bus.line_state, state)
                await self.wait(160)
        ctx.set(bus.line_state, SE0)
        await self.wait(20)
        assert ctx.get(bus.xcvr_select) == 0, "not at high speed"
        assert ctx.get(bus.term_select) == 0, "no high-speed termination"
        self.address = 0
        self.toggles.clear()

    async def plug_in_at_full_speed(self) -> None:
        """Reset a device that does not chirp."""
        ctx, bus = self.ctx, self.bus
        ctx.set(bus.tx_ready, 1)
        for state in (FULL_SPEED_J, SE0, FULL_SPEED_J):
            ctx.set(bus.line_state, state)
            await self.wait(400)
            assert not ctx.get(bus.tx_valid), "a chirp at full speed"
        assert ctx.get(bus.xcvr_select) == 1, "not at full speed"
        self.idle = FULL_SPEED_J

    async def send(self, packet: bytes) -> None:
        """A packet to the device, preceded by a gap, with SYNC and EOP."""
        ctx, bus = self.ctx, self.bus
        await self.wait(GAP + SYNC_AND_END - 2)
        ctx.set(bus.line_state, J)
        ctx.set(bus.rx_active, 1)
        await self.wait(1)
        ctx.set(bus.rx_valid, 1)
        for byte in packet:
            ctx.set(bus.rx_data, byte)
            await self.wait(1)
        ctx.set(bus.rx_valid, 0)
        ctx.set(bus.rx_active, 0)
        ctx.set(bus.line_state, self.idle)
        await self.wait(1)

    async def receive(self) -> bytes | None:
        """The device's answer, None if there is none in time."""
        ctx, bus = self.ctx, self.bus
        for _ in range(TIMEOUT):
            if ctx.get(bus.tx_valid):
                break
            await self.wait(1)
        else:
            return None
        out = bytearray()
        ctx.set(bus.line_state, J)
        while ctx.get(bus.tx_valid):
            out.append(ctx.get(bus.tx_data))
            await self.wait(1)
        ctx.set(bus.line_state, self.idle)
        await self.wait(SYNC_AND_END)
        return bytes(out)

    async def start_of_frame(self, number: int) -> None:
        """SOF of a microframe."""
        await self.send(token(SOF, number & 0x7F, number >> 7 & 0xF))

    async def _foreign(self) -> None:
        """An IN transaction with another device: its data is not heard here, the rest is."""
        await self.send(token(IN, (self.address + 5) & 0x7F or 1, 4))
        await self.wait(40)
        await self.send(bytes([ACK]))

    async def bulk_in(self, endpoint: int) -> bytes | None:
        """One IN transaction: the payload if it is new, None on NAK, loss or a repetition."""
        if self.faults.hit(self.faults.foreign):
            await self._foreign()
        await self.send(token(IN, self.address, endpoint))
        answer = await self.receive()
        assert answer is not None, "the device does not answer an IN"
        if answer == bytes([NAK]):
            self.naks += 1
            return None
        if answer == bytes([STALL]):
            raise Stalled
        assert answer[0] in (DATA0, DATA1), answer[:4].hex()
        payload, check = answer[1:-2], answer[-2:]
        assert check == crc16(payload)
        if self.faults.hit(self.faults.lost_answer):
            self.retries += 1  # damaged on its way to us: no handshake at all
            if self.faults.hit(self.faults.foreign):
                await self._foreign()
            return None
        key = ("in", endpoint)
        toggle = self.toggles.get(key, 0)
        new = answer[0] == (DATA1 if toggle else DATA0)
        if self.faults.hit(self.faults.lost_ack):
            self.retries += 1
            await self.send(bytes([ACK ^ 0xF0]))  # check bits do not fit: no handshake
        else:
            await self.send(bytes([ACK]))
        if not new:
            return None
        self.toggles[key] = 1 - toggle
        if not payload:
            self.zero_length += 1
        return payload

    async def bulk_out(self, endpoint: int, payload: bytes) -> bool:
        """One OUT transaction; False if it has to be repeated."""
        key = ("out", endpoint)
        toggle = self.toggles.get(key, 0)
        await self.send(token(OUT, self.address, endpoint))
        packet = bytes([DATA1 if toggle else DATA0]) + payload + crc16(payload)
        if self.faults.hit(self.faults.damaged):
            self.retries += 1
            spoilt = bytearray(packet)
            spoilt[-1] ^= 0x40
            await self.send(bytes(spoilt))
            assert await self.receive() is None, "a damaged packet is answered"
            return False
        await self.send(packet)
        answer = await self.receive()
        assert answer in (bytes([ACK]), bytes([NAK])), answer
        if answer == bytes([NAK]):
            self.naks += 1
            return False
        if self.faults.hit(self.faults.lost_answer):
            self.retries += 1
            return False
        self.toggles[key] = 1 - toggle
        return True

    async def _setup(self, request: bytes) -> None:
        assert len(request) == 8
        await self.send(token(SETUP, self.address, 0))
        await self.send(bytes([DATA0]) + request + crc16(request))
        assert await self.receive() == bytes([ACK]), "SETUP is always acknowledged"

    async def control_in(self, request: bytes) -> bytes:
        """A control read; raises Stalled."""
        await self._setup(request)
        wanted = int.from_bytes(request[6:8], "little")
        self.toggles["in", 0] = 1
        out = bytearray()
        for _ in range(100):
            part = await self.bulk_in(0)
            if part is None:
                continue
            out += part
            if len(part) < 64 or len(out) >= wanted:
                break
        self.toggles["out", 0] = 1
        assert await self.bulk_out(0, b"")
        return bytes(out)

    async def control_out(self, request: bytes, payload: bytes = b"") -> None:
        """A control write; raises Stalled."""
        await self._setup(request)
        self.toggles["out", 0] = 1
        if payload:
            while not await self.bulk_out(0, payload):
                pass
        self.toggles["in", 0] = 1
        for _ in range(100):
            if (part := await self.bulk_in(0)) is not None:
                assert part == b""
                return
        raise AssertionError("no status stage")

    async def descriptor(self, kind: int, index: int = 0, length: int = 255) -> bytes:
        """GET_DESCRIPTOR."""
        language = 0x0409 if kind == 3 and index else 0
        return await self.control_in(
            bytes([0x80, 6, index, kind])
            + language.to_bytes(2, "little")
            + length.to_bytes(2, "little")
        )

    async def string(self, index: int) -> str:
        """A string descriptor as text."""
        return (await self.descriptor(3, index))[2:].decode("utf-16-le")

    async def enumerate(self, address: int = 23) -> None:
        """SET_ADDRESS, then SET_CONFIGURATION 1."""
        await self.control_out(bytes([0, 5, address, 0, 0, 0, 0, 0]))
        self.address = address
        await self.wait(100)
        await self.configure()

    async def configure(self) -> None:
        """SET_CONFIGURATION 1: data toggles start anew [USB 2.0: 9.1.1.5]."""
        await self.control_out(bytes([0, 9, 1, 0, 0, 0, 0, 0]))
        self.toggles.clear()
