"""PicoQuant PTU files in T2 mode.

Sync is channel 0 and input n of the instrument channel n (its records count inputs from 0, those
of the PicoHarp 300 have sync as input 0). Markers and overflows are counted. Times are records
times the header's global resolution, floored to whole picoseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .blocks import Block, ReadNotes, TagFile, record_blocks
from .ptu_header import read_header, write_header
from .tag_file_error import TagFileError

__all__ = ["read", "write"]

_RECORD = np.dtype("<u4")
_GENERIC_T2 = 0x00010207
_PICOHARP_T2 = 0x00010203
_HYDRAHARP_1_T2 = 0x00010204
_T2 = {
    _PICOHARP_T2: 210_698_240,
    _HYDRAHARP_1_T2: 33_552_000,
    0x01010204: 1 << 25,  # HydraHarp 2
    0x00010205: 1 << 25,  # TimeHarp 260 N
    0x00010206: 1 << 25,  # TimeHarp 260 P
    _GENERIC_T2: 1 << 25,  # MultiHarp, PicoHarp 330
}
"""Units that an overflow stands for, by record type."""

_SPECIAL = 1 << 31
_OVERFLOW = 63
_TIME_MASK = (1 << 25) - 1


@dataclass(frozen=True)
class _Decoded:
    """Fields of records: time field, channel, and what they are; all (n,)."""

    time: NDArray[np.int64]
    channel: NDArray[np.int64]
    tag: NDArray[np.bool_]
    overflows: NDArray[np.int64]


def _decode(records: NDArray[np.uint32], kind: int) -> _Decoded:
    words = records.astype(np.int64)
    if kind == _PICOHARP_T2:
        time, channel = words & (1 << 28) - 1, words >> 28
        special = channel == 15
        overflow = special & (time & 15 == 0)
        return _Decoded(time, channel, ~special, overflow.astype(np.int64))
    time, number, special = words & _TIME_MASK, words >> 25 & 63, words >> 31 == 1
    overflow = special & (number == _OVERFLOW)
    times = np.ones_like(time) if kind == _HYDRAHARP_1_T2 else np.maximum(time, 1)
    sync = special & (number == 0)
    return _Decoded(
        time, np.where(sync, 0, number + 1), ~special | sync, np.where(overflow, times, 0)
    )


def read(path: Path) -> TagFile:
    """Open a PTU file.

    Raises
    ------
    TagFileError
        No PTU header, T3 records, or no resolution.
    """
    with path.open("rb") as file:
        header = read_header(file, path)
        start = file.tell()
    kind = header.get("TTResultFormat_TTTRRecType")
    if not isinstance(kind, int) or kind not in _T2:
        shown = f"{kind:#010x}" if isinstance(kind, int) else "missing"
        raise TagFileError(path, f"record type is {shown}; only T2 records are read")
    resolution = header.get("MeasDesc_GlobalResolution")
    if not isinstance(resolution, float) or not 1e-15 <= resolution <= 1e-3:
        raise TagFileError(path, f"MeasDesc_GlobalResolution is {resolution}; wanted: seconds")
    ps = Fraction(resolution * 1e12).limit_denominator(1_000_000)
    stated = header.get("TTResult_NumberOfRecords")
    # 0 stands in the header of a recording that was not closed.
    limit = stated if isinstance(stated, int) and stated > 0 else None
    notes = ReadNotes()
    notes.facts.update(resolution_ps=float(ps), record_type=f"{kind:#010x}")
    for key in ("HW_Type", "MeasDesc_AcquisitionTime"):
        if key in header:
            notes.facts[key] = header[key]

    def blocks(n: int) -> Iterator[Block]:
        wrapped, left = 0, limit
        for _, all_records in record_blocks(path, _RECORD, start, n, notes):
            records = all_records if left is None else all_records[:left]
            fields = _decode(records, kind)
            overflows = wrapped + np.cumsum(fields.overflows)
            units = (overflows * _T2[kind] + fields.time)[fields.tag]
            t = units // ps.denominator * ps.numerator
            t += units % ps.denominator * ps.numerator // ps.denominator
            marker = ~fields.tag & (fields.overflows == 0)
            notes.count("overflow", int(fields.overflows.sum()))
            notes.count("marker", int(np.count_nonzero(marker)))
            yield t, fields.channel[fields.tag].astype(np.uint8)
            if records.size:
                wrapped = int(overflows[-1])
            if left is not None:
                left -= records.size
                if left == 0:
                    return
        if left:
            notes.counts["records_missing"] = left

    size = (path.stat().st_size - start) // _RECORD.itemsize
    return TagFile(path, "ptu", size if limit is None else min(size, limit), notes, blocks)


def write(path: Path, blocks: Iterator[Block]) -> int:
    """Write generic T2 records at 1 ps: channel 0 as sync, channel n as input n; number of tags.

    Raises
    ------
    TagFileError
        Times that decrease or are negative, a channel above 63.
    """
    with path.open("wb") as file:
        offsets = write_header(
            file,
            {
                "File_CreatingTime": 0.0,
                "Measurement_Mode": 2,
                "Measurement_SubMode": 0,
                "TTResultFormat_TTTRRecType": _GENERIC_T2,
                "TTResultFormat_BitsPerRecord": 32,
                "MeasDesc_BinningFactor": 1,
                "MeasDesc_GlobalResolution": 1e-12,
                "MeasDesc_Resolution": 1e-12,
                "MeasDesc_AcquisitionTime": 0,
                "TTResult_SyncRate": 0,
                "TTResult_NumberOfRecords": 0,
                "CreatorSW_Name": "bellrelay",
            },
        )
        total, records, last = 0, 0, 0
        for t, channel in blocks:
            if not t.size:
                continue
            if int(channel.max()) > _OVERFLOW:
                raise TagFileError(path, f"channel {channel.max()}; T2 holds 0 to 63")
            if int(t[0]) < last or np.any(np.diff(t) < 0):
                raise TagFileError(path, "times decrease (or are negative); T2 holds them in order")
            words = _encode(t, channel, last >> 25)
            file.write(words.astype(_RECORD, copy=False).tobytes())
            total, records, last = total + t.size, records + words.size, int(t[-1])
        for name, value in (
            ("TTResult_NumberOfRecords", records),
            ("MeasDesc_AcquisitionTime", last // 1_000_000_000),
        ):
            file.seek(offsets[name])
            file.write(struct.pack("<q", value))
    return total


def _encode(t: NDArray[np.int64], channel: NDArray[np.uint8], wrapped: int) -> NDArray[np.int64]:
    """Records of tags, overflow records put in where the upper bits of the time move on."""
    upper = t >> 25
    step = np.diff(upper, prepend=np.int64(wrapped))
    # One overflow record stands for at most 2**25 - 1 of them.
    extra = -(-step // _TIME_MASK)
    place = np.arange(t.size) + np.cumsum(extra)
    number = np.maximum(channel.astype(np.int64) - 1, 0)
    out = np.full(t.size + int(extra.sum()), _SPECIAL | _OVERFLOW << 25 | _TIME_MASK)
    out[place] = np.where(channel == 0, _SPECIAL, 0) | number << 25 | t & _TIME_MASK
    some = np.flatnonzero(extra)
    rest = step[some] - (extra[some] - 1) * _TIME_MASK
    out[place[some] - 1] = _SPECIAL | _OVERFLOW << 25 | rest
    return out
