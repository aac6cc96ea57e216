"""NumPy archives: `t` int64 ps and `channel` uint8, each (n,).

Members that are stored as they are, as `numpy.savez` does, are read from the file in blocks.
Compressed ones are inflated in blocks as well.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from .blocks import Block, ReadNotes, TagFile
from .tag_file_error import TagFileError

__all__ = ["read", "write"]

_COLUMNS = (("t", "time in ps", "<i8"), ("channel", "channel", "|u1"))


def _header(file: IO[bytes], path: Path, name: str) -> tuple[int, np.dtype[Any]]:
    """Length and type of a column whose member is open at its beginning."""
    try:
        version = npy.read_magic(file)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = reader(file)
    except ValueError as error:
        raise TagFileError(path, f"{name}.npy: {error}") from error
    if len(shape) != 1 or dtype.kind not in "iu":
        raise TagFileError(path, f"{name} is {dtype} of shape {shape}; wanted: integers, (n,)")
    return int(shape[0]), dtype


def _take(file: IO[bytes], n: int, dtype: np.dtype[Any], path: Path, row: int) -> Any:
    data = file.read(n * dtype.itemsize)
    if len(data) < n * dtype.itemsize:
        raise TagFileError(path, "the column ends early", row)
    return np.frombuffer(data, dtype=dtype)


def read(path: Path) -> TagFile:
    """Open an archive.

    Raises
    ------
    TagFileError
        No zip archive, a column missing, of another type, or of another length.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).stem for name in archive.namelist()}
            sizes = []
            for name, meaning, _ in _COLUMNS:
                if name not in names:
                    raise TagFileError(path, f"no array {name!r} ({meaning})")
                with archive.open(f"{name}.npy") as member:
                    sizes.append(_header(member, path, name)[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise TagFileError(path, f"no .npz archive: {error}") from error
    if sizes[0] != sizes[1]:
        raise TagFileError(path, f"{sizes[0]} times and {sizes[1]} channels")
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("t.npy") as times,
                archive.open("channel.npy") as channels,
            ):
                size, t_type = _header(times, path, "t")
                channel_type = _header(channels, path, "channel")[1]
                for row in range(0, size, n):
                    step = min(n, size - row)
                    t = _take(times, step, t_type, path, row)
                    channel = _take(channels, step, channel_type, path, row)
                    if channel_type != np.uint8 and (channel.min() < 0 or channel.max() > 255):
                        raise TagFileError(path, "a channel outside 0 to 255", row)
                    yield t.astype(np.int64), channel.astype(np.uint8)
        except (zipfile.BadZipFile, EOFError) as error:
            raise TagFileError(path, f"damaged .npz archive: {error}") from error

    return TagFile(path, "npz", sizes[0], notes, blocks)


def write(path: Path, blocks: Iterator[Block]) -> int:
    """Write an archive that `numpy.load` reads; the number of tags.

    The channels wait in a temporary file (1 byte per tag) while the times are written.
    """
    total = 0
    with TemporaryFile() as times, TemporaryFile() as channels:
        for t, channel in blocks:
            times.write(np.ascontiguousarray(t, dtype="<i8").tobytes())
            channels.write(np.ascontiguousarray(channel).tobytes())
            total += t.size
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for (name, _, descr), file in zip(_COLUMNS, (times, channels), strict=True):
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array_header_1_0(
                        member,
                        {"descr": descr, "fortran_order": False, "shape": (total,)},
                    )
                    while data := file.read(1 << 24):
                        member.write(data)
    return total
