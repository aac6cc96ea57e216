"""The files of a source log: segments of chunks, four bits per slot.

A directory holds segments ``<acquisition>-<first slot>.brsrc``. A segment is a header, then chunks
in the order of their slots. All numbers are little-endian.

- Segment header, 112 bytes: magic ``BRSOURCE``, version (u16), zero (u16), acquisition (u32), UTC
  nanoseconds of slot 0 (i64; 0 not known), picoseconds of a slot (f64; 0 not known), first slot
  (u64), the four intensities and the four probabilities as declared (f64), CRC-32 of all before it
  (u32), zero (u32).
- Chunk: magic ``BRCH`` (4 bytes), number of slots (u32), first slot (u64), CRC-32 of the payload
  (u32), CRC-32 of the 20 bytes before it (u32); then the payload, one byte for two slots, the
  earlier one in the low half: setting (bits 0 and 1), basis (bit 2), bit (bit 3).

Slots between the end of a chunk and the first slot of the next one were dropped by the sender. A
chunk of no slots says that everything before its first slot has been recorded or dropped. Each half
of a chunk has a CRC of its own, so that the chunks can be walked through after their payload has
been overwritten.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .source_log import SourceLogDamaged

__all__ = [
    "CHUNK_HEADER_BYTES",
    "MAX_CHUNK_SLOTS",
    "SEGMENT_HEADER_BYTES",
    "ChunkHeader",
    "SegmentHeader",
    "chunk_bytes",
    "pack",
    "payload_bytes",
    "payload_is_whole",
    "segment_path",
    "segments_of",
    "unpack",
    "walk_chunks",
]

_MAGIC = b"BRSOURCE"
_VERSION = 1
_CHUNK_MAGIC = b"BRCH"
_SEGMENT = struct.Struct("<8sHHIqdQ8d")
_CHUNK = struct.Struct("<4sIQI")
_SUFFIX = ".brsrc"
SEGMENT_HEADER_BYTES = _SEGMENT.size + 8
CHUNK_HEADER_BYTES = _CHUNK.size + 4
MAX_CHUNK_SLOTS = 1 << 20


@dataclass(frozen=True)
class SegmentHeader:
    """Whose slots a segment has, and what its sender declares."""

    acquisition: int
    start_ns: int
    slot_period_ps: float
    first_slot: int
    intensities: tuple[float, ...]
    probabilities: tuple[float, ...]

    def encode(self) -> bytes:
        """112 bytes."""
        body = _SEGMENT.pack(
            _MAGIC,
            _VERSION,
            0,
            self.acquisition,
            self.start_ns,
            self.slot_period_ps,
            self.first_slot,
            *self.intensities,
            *self.probabilities,
        )
        return body + struct.pack("<II", zlib.crc32(body), 0)

    @classmethod
    def parse(cls, data: bytes) -> SegmentHeader:
        """From the first bytes of a segment.

        Raises
        ------
        SourceLogDamaged
            Too short, of another version, or damaged.
        """
        body, tail = data[: _SEGMENT.size], data[_SEGMENT.size : SEGMENT_HEADER_BYTES]
        if len(tail) < 8 or struct.unpack("<II", tail)[0] != zlib.crc32(body):
            raise SourceLogDamaged("a segment of the source log has no whole header")
        magic, version, _, acquisition, start_ns, period, first, *declared = _SEGMENT.unpack(body)
        if magic != _MAGIC or version != _VERSION:
            raise SourceLogDamaged(f"a segment of the source log has version {version}, not 1")
        return cls(acquisition, start_ns, period, first, tuple(declared[:4]), tuple(declared[4:]))


@dataclass(frozen=True)
class ChunkHeader:
    """Slots [first, first + slots) and the CRC of their records."""

    first: int
    slots: int
    payload_crc: int

    @property
    def end(self) -> int:
        return self.first + self.slots

    def encode(self) -> bytes:
        """24 bytes."""
        body = _CHUNK.pack(_CHUNK_MAGIC, self.slots, self.first, self.payload_crc)
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def parse(cls, data: bytes) -> ChunkHeader | None:
        """From 24 bytes; None if they are none."""
        if len(data) < CHUNK_HEADER_BYTES:
            return None
        body, tail = data[: _CHUNK.size], data[_CHUNK.size : CHUNK_HEADER_BYTES]
        magic, slots, first, crc = _CHUNK.unpack(body)
        if magic != _CHUNK_MAGIC or struct.unpack("<I", tail)[0] != zlib.crc32(body):
            return None
        return cls(first, slots, crc) if slots <= MAX_CHUNK_SLOTS else None


def payload_bytes(slots: int) -> int:
    """Length of the payload of so many slots."""
    return (slots + 1) // 2


def pack(setting: NDArray[np.uint8], basis: NDArray[np.uint8], bit: NDArray[np.uint8]) -> bytes:
    """The payload of n slots; arrays (n,) uint8 that have been checked."""
    half = setting | (basis << np.uint8(2)) | (bit << np.uint8(3))
    if half.size % 2:
        half = np.append(half, np.uint8(0))
    return (half[0::2] | (half[1::2] << np.uint8(4))).astype(np.uint8).tobytes()


def unpack(
    payload: bytes, at: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """(setting, basis, bit) of the slots at these places, (n,), counted from the chunk's first."""
    half = np.frombuffer(payload, np.uint8)[at >> 1]
    half = (half >> ((at & 1) << 2).astype(np.uint8)) & np.uint8(15)
    return half & np.uint8(3), (half >> np.uint8(2)) & np.uint8(1), half >> np.uint8(3)


def chunk_bytes(
    first: int,
    setting: NDArray[np.uint8],
    basis: NDArray[np.uint8],
    bit: NDArray[np.uint8],
) -> bytes:
    """A whole chunk of at most MAX_CHUNK_SLOTS slots."""
    payload = pack(setting, basis, bit)
    return ChunkHeader(first, len(setting), zlib.crc32(payload)).encode() + payload


def walk_chunks(file: int, offset: int, size: int) -> list[tuple[int, ChunkHeader]]:
    """(offset, header) of the chunks that stand whole in an open file from this offset on.

    size: bytes of the file. It ends at the first chunk that is cut off or has no valid header; the
    payloads are not looked at.
    """
    found: list[tuple[int, ChunkHeader]] = []
    while offset + CHUNK_HEADER_BYTES <= size:
        header = ChunkHeader.parse(os.pread(file, CHUNK_HEADER_BYTES, offset))
        if header is None:
            break
        end = offset + CHUNK_HEADER_BYTES + payload_bytes(header.slots)
        if end > size or (found and header.first < found[-1][1].end):
            break
        found.append((offset, header))
        offset = end
    return found


def payload_is_whole(file: int, offset: int, header: ChunkHeader) -> bool:
    """Whether the payload of a chunk at this offset of an open file is what was written."""
    payload = os.pread(file, payload_bytes(header.slots), offset + CHUNK_HEADER_BYTES)
    return zlib.crc32(payload) == header.payload_crc


def segment_path(directory: Path, acquisition: int, first_slot: int) -> Path:
    """Where the segment stands that begins there."""
    return directory / f"{acquisition:010d}-{first_slot:020d}{_SUFFIX}"


def segments_of(directory: Path, acquisition: int | None = None) -> list[tuple[int, int]]:
    """(acquisition, first slot) of the segments that are there, in order."""
    found = []
    for path in directory.glob("*" + _SUFFIX):
        one, _, other = path.name.removesuffix(_SUFFIX).partition("-")
        if one.isdigit() and other.isdigit() and acquisition in (None, int(one)):
            found.append((int(one), int(other)))
    return sorted(found)
