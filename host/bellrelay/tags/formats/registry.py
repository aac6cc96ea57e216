"""Which formats there are, and which one a file has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from bellrelay.tags.chain import check_times

from .blocks import Block, TagFile
from .tag_file_error import TagFileError, TagFileNotWritten

__all__ = ["FORMATS", "WRITABLE", "detect_format", "open_tags", "write_tags"]

FORMATS = ("npz", "parquet", "ptu", "swabian", "qutag", "sfifteen", "sfifteen-swapped", "u64")
"""Names for `--format`."""

WRITABLE = ("npz", "parquet", "ptu", "u64")

_EXTENSIONS = {
    ".npz": "npz",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ptu": "ptu",
    ".tag16": "swabian",
    ".swabian": "swabian",
    ".qutag": "qutag",
    ".a1": "sfifteen",
    ".u64": "u64",
}
_MAGICS = ((b"PQTTTR\0\0", "ptu"), (b"PAR1", "parquet"), (b"PK\x03\x04", "npz"))


def _by_name(path: Path) -> str:
    name = path.name.lower()
    found = _EXTENSIONS.get(path.suffix.lower())
    if name.endswith(".a1.dat"):
        found = "sfifteen"
    if found is None:
        known = ", ".join(sorted(_EXTENSIONS))
        raise TagFileError(
            path, f"unknown format: neither magic nor extension ({known}); name it with --format"
        )
    return found


def detect_format(path: Path) -> str:
    """Format of a file: by its first bytes where the format has a magic, else by its extension.

    Raises
    ------
    TagFileError
        It cannot be read, or neither says anything.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise TagFileError(path, error.strerror or str(error)) from error
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    return _by_name(path)


def open_tags(path: str | os.PathLike[str], format_name: str | None = None) -> TagFile:
    """Open a file of recorded tags.

    Parameters
    ----------
    format_name
        One of FORMATS; found by magic or extension if not given.

    Raises
    ------
    TagFileError
        The file cannot be read, or is not of the format.
    """
    file = Path(path)
    chosen = detect_format(file) if format_name is None else format_name
    if chosen not in FORMATS:
        raise TagFileError(file, f"format {chosen!r}; known: {', '.join(FORMATS)}")
    module = import_module(f"{__package__}.{chosen.partition('-')[0]}")
    read: Callable[[Path], TagFile] = module.read
    if chosen == "sfifteen-swapped":
        read = partial(module.read, swap=True)
    try:
        found = read(file)
    except OSError as error:
        raise TagFileError(file, error.strerror or str(error)) from error
    return replace(found, blocks=partial(_in_range, found))


def _in_range(file: TagFile, n: int) -> Iterator[Block]:
    """The blocks of a file, once their times are known to be such as the arithmetic holds."""
    row = 0
    for t, channel in file.blocks(n):
        try:
            check_times(t, channel)
        except ValueError as error:
            raise TagFileError(file.path, str(error), row) from error
        row += t.size
        yield t, channel


def write_tags(
    path: str | os.PathLike[str], blocks: Iterator[Block], format_name: str | None = None
) -> int:
    """Write tags; their number. A file that could not be completed is removed.

    Parameters
    ----------
    format_name
        One of WRITABLE; by the extension if not given.

    Raises
    ------
    TagFileError
        The format is not written here, or cannot hold these tags.
    TagFileNotWritten
        The disk is full, the folder is missing, and the like.
    """
    file = Path(path)
    chosen = _by_name(file) if format_name is None else format_name
    if chosen not in WRITABLE:
        raise TagFileError(file, f"format {chosen!r} is not written; these are: {list(WRITABLE)}")
    write: Callable[[Path, Iterator[Block]], int] = import_module(f"{__package__}.{chosen}").write
    partial_file = file.with_name(f".{file.name}.part")
    try:
        total = write(partial_file, blocks)
        partial_file.replace(file)
    except TagFileError as error:
        if error.path == partial_file:
            raise TagFileError(file, error.reason, error.offset) from error
        raise
    except OSError as error:
        raise TagFileNotWritten(file, error.strerror or str(error)) from error
    finally:
        partial_file.unlink(missing_ok=True)
    return total
