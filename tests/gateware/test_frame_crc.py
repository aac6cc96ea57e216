"""The pipelined CRC against zlib."""

from __future__ import annotations

import random
import zlib

import pytest
from amaranth.sim import Simulator

from bellrelay_gateware.frame_crc import FrameCrc


@pytest.mark.parametrize("before", [b"", b"any bytes"])
@pytest.mark.parametrize("width", [8, 32])
def test_crc_is_that_of_zlib_two_clocks_later(width: int, before: bytes) -> None:
    rng = random.Random(width)
    dut = FrameCrc(width, before)
    expected, seen = [zlib.crc32(before)], []

    async def bench(ctx):
        for clock in range(300):
            start, valid = clock == 0 or rng.random() < 0.05, rng.random() < 0.7
            datum = rng.getrandbits(width)
            ctx.set(dut.start, start)
            ctx.set(dut.valid, valid)
            ctx.set(dut.data, datum)
            crc = zlib.crc32(before) if start else expected[-1]
            if valid:
                crc = zlib.crc32(datum.to_bytes(width // 8, "little"), crc)
            expected.append(crc)
            await ctx.tick()
            seen.append(ctx.get(dut.crc))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen[1:] == expected[1:-1]


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="data_width"):
        FrameCrc(12)
