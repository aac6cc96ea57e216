"""CRC-32 of commands, as zlib computes it, with no clock between a byte and the CRC."""

from __future__ import annotations

import zlib

from amaranth.lib.crc import Algorithm, Processor

__all__ = ["frame_crc"]


def frame_crc(data_width: int, before: bytes = b"") -> Processor:
    """CRC-32 (IEEE 802.3); ``start`` sets it to what it is after ``before``.

    Throughput: one datum per clock; ``crc`` follows a datum by one clock.
    """
    state = zlib.crc32(before) ^ 0xFFFF_FFFF
    algorithm = Algorithm(
        crc_width=32,
        polynomial=0x04C1_1DB7,
        initial_crc=int(f"{state:032b}"[::-1], 2),
        reflect_input=True,
        reflect_output=True,
        xor_output=0xFFFF_FFFF,
    )
    return Processor(algorithm(data_width=data_width))
