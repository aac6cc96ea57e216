"""The link on USB against a host model: enumeration, requests, faults on the bus, the budget."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
from amaranth.sim import Simulator
from luna.gateware.interface.utmi import UTMIInterface
from luna.gateware.usb.usb2.reset import USBResetSequencer
from usb_host import MICROFRAME, Faults, Stalled, UsbHost

from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay_boards.usb_bulk_in import BulkIn
from bellrelay_boards.usb_descriptors import PRODUCT_ID, VENDOR_ID, port_descriptors
from bellrelay_boards.usb_requests import LINE_CODING
from bellrelay_boards.usb_serial import UsbSerial

DATA = 4
Script = Callable[[UsbHost], Awaitable[None]]


class Bench:
    """A device, what its board side sends, and what comes out there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, high_speed: bool = True) -> None:
        # A chirp of 2 ms is 120000 clocks; the sequence is the same with one of 3 us.
        monkeypatch.setattr(USBResetSequencer, "_CYCLES_2_MILLISECONDS", 200)
        self.bus = UTMIInterface()
        self.dut = UsbSerial(self.bus, board="bench", serial="B-0001", high_speed=high_speed)
        self.usb_hz = 60e6 if high_speed else 12e6
        self.to_host = bytearray()
        self.from_host = bytearray()
        self.gaps = 0.0
        self.stalls = 0.0

    def run(self, script: Script) -> None:
        """Run until the host's script ends."""
        rng = random.Random(11)

        async def source(ctx):
            dut, sent = self.dut, 0
            while True:
                offer = sent < len(self.to_host) and rng.random() >= self.gaps
                ctx.set(dut.tx.valid, offer)
                if offer:
                    ctx.set(dut.tx.payload, self.to_host[sent])
                *_, ready = await ctx.tick().sample(dut.tx.ready)
                sent += offer and ready

        async def sink(ctx):
            dut = self.dut
            stalled = 0
            while True:
                if not stalled and rng.random() < self.stalls:
                    stalled = rng.randrange(1, 400)
                stalled -= stalled > 0
                ctx.set(dut.rx.ready, not stalled)
                *_, valid, payload = await ctx.tick().sample(dut.rx.valid, dut.rx.payload)
                if valid and not stalled:
                    self.from_host.append(payload)

        async def host(ctx):
            await script(UsbHost(ctx, self.bus))

        sim = Simulator(self.dut)
        sim.add_clock(10e-9)
        sim.add_clock(1 / self.usb_hz, domain="usb")
        sim.add_testbench(source, background=True)
        sim.add_testbench(sink, background=True)
        sim.add_testbench(host)
        sim.run()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def fetched(host: UsbHost, size: int, endpoint: int = DATA, patience: int = 400) -> bytes:
    """Bytes of IN transactions until there are so many, or the patience has run out."""
    out = bytearray()
    while len(out) < size and patience:
        patience -= 1
        out += await host.bulk_in(endpoint) or b""
    return bytes(out)


def test_a_host_enumerates_it_as_a_serial_port(bench: Bench) -> None:
    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        device = await host.descriptor(1, length=64)
        assert len(device) == 18
        assert int.from_bytes(device[8:10], "little") == VENDOR_ID
        assert int.from_bytes(device[10:12], "little") == PRODUCT_ID
        assert device[7] == 64
        await host.enumerate(address=42)
        head = await host.descriptor(2, length=9)
        whole = await host.descriptor(2)
        assert len(whole) == int.from_bytes(head[2:4], "little")
        endpoints = {}
        while whole:
            part, whole = whole[: whole[0]], whole[whole[0] :]
            if part[1] == 5:
                endpoints[part[2]] = (part[3], int.from_bytes(part[4:6], "little"))
        assert endpoints == {0x83: (3, 8), 0x84: (2, 512), 0x04: (2, 512)}
        assert [await host.string(device[i]) for i in (14, 15, 16)] == [
            "bellrelay",
            "bellrelay bench",
            "B-0001",
        ]
        with pytest.raises(Stalled):
            await host.descriptor(6)  # no other speed
        assert host.ctx.get(bench.dut.configured)

    bench.run(script)


def test_line_coding_and_control_lines(bench: Bench) -> None:
    coding = (3_000_000).to_bytes(4, "little") + bytes([2, 1, 7])

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        read = bytes([0xA1, 0x21, 0, 0, 0, 0, 7, 0])
        assert await host.control_in(read) == LINE_CODING
        host.faults = Faults(damaged=0.7)
        await host.control_out(bytes([0x21, 0x20, 0, 0, 0, 0, 7, 0]), coding)
        host.faults = Faults()
        assert await host.control_in(read) == coding
        assert not host.ctx.get(bench.dut.terminal_ready)
        for lines in (3, 0, 1):
            await host.control_out(bytes([0x21, 0x22, lines, 0, 0, 0, 0, 0]))
            await host.wait(20)
            assert host.ctx.get(bench.dut.terminal_ready) == lines & 1
        with pytest.raises(Stalled):  # SEND_BREAK
            await host.control_out(bytes([0x21, 0x23, 0, 0, 0, 0, 0, 0]))
        assert await host.control_in(read) == coding, "alive after a stall"

    bench.run(script)


def test_nothing_is_lost_or_doubled_whatever_the_bus_does(bench: Bench) -> None:
    rng = random.Random(3)
    down, up = rng.randbytes(2500), rng.randbytes(2000)
    bench.to_host += up
    bench.gaps, bench.stalls = 0.3, 0.01

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        host.faults = Faults(lost_answer=0.2, lost_ack=0.2, damaged=0.2, foreign=0.3)
        got, at = bytearray(), 0
        while at < len(down) or len(got) < len(up):
            part = down[at : at + rng.choice([1, 3, 64, 511, 512])]
            # What has to be repeated is repeated as it was.
            while part and not await host.bulk_out(DATA, part):
                got += await host.bulk_in(DATA) or b""
            at += len(part)
            got += await host.bulk_in(DATA) or b""
        assert bytes(got) == up
        assert host.naks
        assert host.retries > 5
        await host.wait(6000)

    bench.run(script)
    assert bytes(bench.from_host) == down


def test_an_acknowledgement_for_another_device_is_not_ours(bench: Bench) -> None:
    """Our packet is damaged on the wire; what the host acknowledges next is someone else's."""
    bench.to_host += bytes(range(256)) * 4

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        await host.wait(2000)
        host.faults = Faults(lost_answer=1.0)
        assert await host.bulk_in(DATA) is None
        host.faults = Faults(foreign=1.0)
        assert await fetched(host, 1024) == bytes(bench.to_host)

    bench.run(script)


@pytest.mark.parametrize("size", [1, 512, 1024])
def test_the_end_of_what_is_sent_reaches_a_driver_that_waits_for_it(
    bench: Bench, size: int
) -> None:
    """A host's driver hands over what it has at a packet that is not full: there is always one."""
    bench.to_host += random.Random(size).randbytes(size)

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        await host.wait(2000)
        got, short, before = bytearray(), False, host.zero_length
        for _ in range(20):
            part = await host.bulk_in(DATA)
            if part is not None:
                got += part
                short = len(part) < 512
        assert bytes(got) == bytes(bench.to_host)
        assert short
        assert host.zero_length - before == (size % 512 == 0)

    bench.run(script)


def test_a_host_that_comes_back_starts_with_fresh_toggles(bench: Bench) -> None:
    bench.to_host += bytes(100)
    first, second = b"one packet", b"another one"

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        await host.wait(500)
        assert await fetched(host, 100) == bytes(100)
        assert await host.bulk_out(DATA, first)
        # The same device, configured once more: DATA0 is new again, both ways.
        await host.configure()
        bench.to_host.extend(b"\x55" * 30)
        await host.wait(500)
        assert await fetched(host, 30) == b"\x55" * 30
        assert await host.bulk_out(DATA, second)
        await host.wait(200)

    bench.run(script)
    assert bytes(bench.from_host) == first + second


def test_at_full_speed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, high_speed=False)
    bench.to_host += random.Random(5).randbytes(192)

    async def script(host: UsbHost) -> None:
        await host.plug_in_at_full_speed()
        await host.enumerate()
        configuration = await host.descriptor(2)
        assert b"\x07\x05\x84\x02\x40\x00" in configuration, "packets of 64 bytes"
        host.faults = Faults(lost_answer=0.2, lost_ack=0.2)
        assert await fetched(host, 192) == bytes(bench.to_host)
        while not await host.bulk_out(DATA, bytes(range(64))):
            pass
        await host.wait(200)

    bench.run(script)
    assert bytes(bench.from_host) == bytes(range(64))


def test_the_notices_endpoint_has_none(bench: Bench) -> None:
    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        for _ in range(3):
            assert await host.bulk_in(3) is None
        assert host.naks == 3

    bench.run(script)


def _bytes_each(kind: FrameType, head: int, words_each: int, count: int) -> float:
    """Bytes on the link per record, of a frame with so many of them."""
    return len(encode_frame(kind, 0, 0, [0] * (head + words_each * count))) / count


def test_budget_of_the_link_at_high_speed(bench: Bench) -> None:
    """Simulated: what full microframes carry, in records of our frames per second."""
    microframes = 2
    bench.to_host += random.Random(1).randbytes(microframes * 13 * 512 + 2000)
    fetched_bytes = bytearray()

    async def script(host: UsbHost) -> None:
        await host.plug_in_and_chirp()
        await host.enumerate()
        for number in range(microframes):
            begin = host.clock
            await host.start_of_frame(number)
            # A host starts nothing that may not end within the microframe [USB 2.0: 5.8.4].
            while host.clock - begin < MICROFRAME - 620:
                fetched_bytes.extend(await host.bulk_in(DATA) or b"")
            await host.wait(MICROFRAME - (host.clock - begin))

    bench.run(script)
    assert bytes(fetched_bytes) == bytes(bench.to_host[: len(fetched_bytes)])
    rate = len(fetched_bytes) / (microframes * 125e-6)
    depth = BoardGeometry()
    tags = rate / _bytes_each(FrameType.TAGS, 2, 2, depth.capture_depth // 2)
    announcements = rate / _bytes_each(FrameType.ANNOUNCEMENTS, 4, 1, depth.announce_depth // 2)
    print(f"simulated: {rate / 1e6:.1f} MB/s, {tags / 1e6:.2f} M tags/s, ", end="")
    print(f"{announcements / 1e6:.2f} M announcements/s")
    assert tags >= 4e6
    assert announcements >= 8e6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"number": 0}, "number is 0; allowed: 1 to 15"),
        ({"max_packet": 256}, "max_packet is 256; allowed: 64, 512"),
        ({"linger": 0}, "linger is 0"),
    ],
)
def test_parameters_of_the_endpoint_are_checked(change: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BulkIn(**{"number": 1, "max_packet": 512, **change})


@pytest.mark.parametrize("serial", ["", "a/b", "ä1", "a b"])
def test_a_serial_number_can_stand_in_a_device_name(serial: str) -> None:
    with pytest.raises(ValueError, match="serial is"):
        port_descriptors(board="bench", serial=serial, max_packet=512)
