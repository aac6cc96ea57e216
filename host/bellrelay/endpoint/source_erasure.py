"""Forgetting what was sent: records are overwritten where they stand, then files go.

The mark up to where an acquisition is forgotten is on disk first: records below it are never
served again, whatever a crash leaves of them. Overwriting reaches the medium where file system and
disk write in place; on flash and on copying file systems, encrypt the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .source_format import (
    CHUNK_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    payload_bytes,
    segment_path,
    segments_of,
    walk_chunks,
)

__all__ = [
    "EVERY_SLOT",
    "erase_acquisition",
    "erase_before",
    "forgotten_mark",
    "private_directory",
    "sync_directory",
]

EVERY_SLOT = (1 << 64) - 1
"""A mark above every slot."""

_PIECE = bytes(1 << 20)


def private_directory(directory: Path) -> None:
    """Make the directory, for its owner alone.

    Raises
    ------
    PermissionError
        It is there, and others may read it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory.stat().st_mode & 0o077:
        raise PermissionError(
            f"{directory}: holds what was sent, and others than its owner have access: chmod 700"
        )


def sync_directory(directory: Path) -> None:
    """Names that were made or removed in it are durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mark_path(directory: Path, acquisition: int) -> Path:
    return directory / f"{acquisition:010d}.forgotten"


def forgotten_mark(directory: Path, acquisition: int) -> int:
    """Slots of the acquisition below this one are forgotten; 0 if none are."""
    try:
        return int(_mark_path(directory, acquisition).read_text())
    except FileNotFoundError:
        return 0


def erase_before(directory: Path, acquisition: int, before: int, erased: int = 0) -> None:
    """Forget the acquisition's slots below ``before``; a second call does what a first one left.

    The chunk that ``before`` lies in keeps its records on disk, unserved, until it ends below the
    mark. The last segment stays, as its sender may be writing it.

    Parameters
    ----------
    directory, acquisition, before
        What to forget.
    erased
        Slots below are known to be overwritten already, and are not written again.

    Raises
    ------
    OSError
        The disk failed: the mark stands or not, and the call is to be repeated.
    """
    with _alone(directory):
        if before > forgotten_mark(directory, acquisition):
            _put_mark(directory, acquisition, before)
        segments = [first for _, first in segments_of(directory, acquisition)]
        for first, following in zip(segments, [*segments[1:], None], strict=True):
            if first >= before:
                break
            path = segment_path(directory, acquisition, first)
            # A chunk never reaches into the next segment.
            if following is not None and following <= before:
                _remove(path)
            else:
                _overwrite_chunks(path, before, erased)
        sync_directory(directory)


def erase_acquisition(directory: Path, acquisition: int) -> None:
    """Forget all of an acquisition, the files of its last segment too: nobody may be writing it.

    Raises
    ------
    OSError
        As :func:`erase_before`.
    """
    with _alone(directory):
        _put_mark(directory, acquisition, EVERY_SLOT)
        for _, first in segments_of(directory, acquisition):
            _remove(segment_path(directory, acquisition, first))
        sync_directory(directory)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """The sender trims what is too old, the endpoint what is resolved: one at a time."""
    lock = os.open(directory / "erasing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _put_mark(directory: Path, acquisition: int, before: int) -> None:
    path = _mark_path(directory, acquisition)
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{before}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_directory(directory)


def _remove(path: Path) -> None:
    """Zeros over all records, then no file."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        _zeros(file, SEGMENT_HEADER_BYTES, size - SEGMENT_HEADER_BYTES)
        os.fdatasync(file)
    finally:
        os.close(file)
    path.unlink()


def _overwrite_chunks(path: Path, before: int, erased: int) -> None:
    """Zeros over the payload of every chunk that ends at or below ``before``."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for offset, header in walk_chunks(file, SEGMENT_HEADER_BYTES, os.fstat(file).st_size):
            if header.end > before:
                break
            if header.end <= erased:
                continue
            _zeros(file, offset + CHUNK_HEADER_BYTES, payload_bytes(header.slots))
        os.fdatasync(file)
    finally:
        os.close(file)


def _zeros(file: int, at: int, left: int) -> None:
    while left > 0:
        wrote = os.pwrite(file, _PIECE[:left], at)
        at, left = at + wrote, left - wrote
