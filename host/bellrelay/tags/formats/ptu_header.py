"""The header of PicoQuant's unified files (PTU): tagged values before the records."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from .tag_file_error import TagFileError

__all__ = ["MAGIC", "HeaderValue", "read_header", "write_header"]

MAGIC = b"PQTTTR\0\0"

HeaderValue = int | float | str

_ENTRY = struct.Struct("<32siI8s")
_EMPTY, _BOOL, _INT, _BITS, _COLOUR = 0xFFFF0008, 0x00000008, 0x10000008, 0x11000008, 0x12000008
_FLOAT, _TIME = 0x20000008, 0x21000008
_FLOATS, _ANSI, _WIDE, _BLOB = 0x2001FFFF, 0x4001FFFF, 0x4002FFFF, 0xFFFFFFFF
_LONGEST = 1 << 28


def read_header(file: BinaryIO, path: Path) -> dict[str, HeaderValue]:
    """Values by name (of an indexed one `Name(index)`); the file stands at the first record after.

    Raises
    ------
    TagFileError
        No such header, or it breaks off.
    """
    if file.read(8) != MAGIC:
        raise TagFileError(path, "no PicoQuant PTU file: the magic PQTTTR is missing", 0)
    file.read(8)
    values: dict[str, HeaderValue] = {}
    while True:
        offset = file.tell()
        entry = file.read(_ENTRY.size)
        if len(entry) < _ENTRY.size:
            raise TagFileError(path, "the header breaks off before Header_End", offset)
        raw_name, index, kind, raw = _ENTRY.unpack(entry)
        name = raw_name.rstrip(b"\0").decode("latin-1")
        if name == "Header_End":
            return values
        key = name if index < 0 else f"{name}({index})"
        whole = int.from_bytes(raw, "little", signed=True)
        if kind in (_BOOL, _INT, _BITS, _COLOUR):
            values[key] = whole
        elif kind in (_FLOAT, _TIME):
            values[key] = struct.unpack("<d", raw)[0]
        elif kind in (_FLOATS, _ANSI, _WIDE, _BLOB):
            data = file.read(whole) if 0 <= whole <= _LONGEST else b""
            if len(data) != whole:
                raise TagFileError(path, f"{key}: the value breaks off", offset)
            if kind in (_ANSI, _WIDE):
                code = "latin-1" if kind == _ANSI else "utf-16-le"
                values[key] = data.decode(code, "replace").rstrip("\0")
        elif kind != _EMPTY:
            raise TagFileError(path, f"{key}: unknown type {kind:#010x}", offset)


def write_header(file: BinaryIO, values: dict[str, HeaderValue]) -> dict[str, int]:
    """Write a header; the byte offset of every number in it, by name, to be set later."""
    offsets: dict[str, int] = {}
    file.write(MAGIC + b"1.0.00\0\0")
    for name, value in values.items():
        kind, raw, more = _INT, b"", b""
        if isinstance(value, str):
            more = value.encode("latin-1") + b"\0"
            more += b"\0" * (-len(more) % 8)
            kind, raw = _ANSI, struct.pack("<q", len(more))
        elif isinstance(value, float):
            kind, raw = _FLOAT, struct.pack("<d", value)
        else:
            raw = struct.pack("<q", value)
        offsets[name] = file.tell() + _ENTRY.size - 8
        file.write(_ENTRY.pack(name.encode("latin-1"), -1, kind, raw) + more)
    file.write(_ENTRY.pack(b"Header_End", -1, _EMPTY, bytes(8)))
    return offsets
