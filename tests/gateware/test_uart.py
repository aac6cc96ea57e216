"""The serial line: loopback at every kind of ratio, with jitter, and damaged stop bits."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from bellrelay_gateware.uart import UartReceiver, UartTransmitter, phase_step

CLOCK_HZ = 200_000_000


def _line(baud: int, data: bytes, gaps: bool) -> list[int]:
    """Samples of the line, one per clock, while the transmitter sends."""
    dut = UartTransmitter(clock_hz=CLOCK_HZ, baud=baud)
    rng = random.Random(baud)
    samples: list[int] = []
    clocks = round((len(data) * 10 + 20) * CLOCK_HZ / baud) + (2000 if gaps else 0)

    async def bench(ctx):
        left = list(data)
        for _ in range(clocks):
            if gaps and rng.random() < 0.3:
                ctx.set(dut.data.valid, 0)
            elif left:
                ctx.set(dut.data.valid, 1)
                ctx.set(dut.data.payload, left[0])
            taken = ctx.get(dut.data.valid) and ctx.get(dut.data.ready)
            samples.append(ctx.get(dut.tx))
            await ctx.tick()
            if taken:
                left.pop(0)
            if not left or taken:
                ctx.set(dut.data.valid, 0)
        assert not left

    sim = Simulator(dut)
    sim.add_clock(5e-9)
    sim.add_testbench(bench)
    sim.run()
    return samples


def _received(baud: int, samples: list[int]) -> tuple[bytes, int]:
    dut = UartReceiver(clock_hz=CLOCK_HZ, baud=baud)
    out = bytearray()
    errors = 0

    async def bench(ctx):
        nonlocal errors
        for sample in [*samples, *[1] * 200]:
            ctx.set(dut.rx, sample)
            await ctx.tick()
            if ctx.get(dut.data.valid):
                out.append(ctx.get(dut.data.payload))
            errors += ctx.get(dut.framing_error)

    sim = Simulator(dut)
    sim.add_clock(5e-9)
    sim.add_testbench(bench)
    sim.run()
    return bytes(out), errors


@pytest.mark.parametrize("baud", [3_000_000, 12_000_000, 33_333_333, 50_000_000])
@pytest.mark.parametrize("gaps", [False, True])
def test_loopback(baud: int, gaps: bool) -> None:
    data = bytes(random.Random(1).randrange(256) for _ in range(24)) + b"\x00\xff"
    assert _received(baud, _line(baud, data, gaps)) == (data, 0)


def test_no_error_accumulates_over_bytes_back_to_back() -> None:
    baud, data = 33_333_333, bytes(range(100))
    samples = _line(baud, data, False)
    begin, end = samples.index(0), len(samples) - samples[::-1].index(0)
    # From the first start bit to the end of the last byte's last zero: 0x63 ends in a 0 bit.
    assert abs((end - begin) - (99 * 10 + 9) * CLOCK_HZ / baud) <= 2


def test_jitter_of_a_fifth_of_a_bit_is_harmless() -> None:
    baud, rng = 3_000_000, random.Random(7)
    data = bytes(rng.randrange(256) for _ in range(40))
    bits = [b for byte in data for b in [0, *(byte >> i & 1 for i in range(8)), 1]] + [1]
    width = CLOCK_HZ / baud
    edges = [round(i * width + rng.uniform(-0.2, 0.2) * width) for i in range(len(bits) + 1)]
    edges[0] = 0
    samples = [1] * 50 + [bit for i, bit in enumerate(bits) for _ in range(edges[i + 1] - edges[i])]
    assert _received(baud, samples) == (data, 0)


def test_a_low_stop_bit_is_counted_and_its_byte_dropped() -> None:
    baud = 10_000_000
    good, bad = [0, 1, 0, 1, 0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    bits = [*good, *bad, 1, 1, *good]
    samples = [1] * 30 + [bit for bit in bits for _ in range(CLOCK_HZ // baud)]
    byte = sum(bit << i for i, bit in enumerate(good[1:9]))
    assert _received(baud, samples) == (bytes([byte, byte]), 1)


def test_a_rate_that_the_clock_cannot_make_is_refused() -> None:
    with pytest.raises(ValueError, match="baud is 60000000"):
        phase_step(CLOCK_HZ, 60_000_000, 4)
