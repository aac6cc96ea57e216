"""Key material on disk: plain files that only their owner can read, overwritten as it is spent.

What is wiped is overwritten in place and flushed. On storage that writes elsewhere instead (flash,
copy-on-write file systems, snapshots) the old bytes may outlive that: encrypt such a disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bellrelay.service.private_file import require_private_file

__all__ = ["KeyFiles", "read_secret", "sync_directory", "write_new_secret"]

_PIECE = 1 << 20


def write_new_secret(path: Path, n_bytes: int) -> None:
    """A file of mode 0600 with fresh bytes of the operating system, to be carried to both sides.

    Raises
    ------
    FileExistsError
        There is something already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(n_bytes))
        file.flush()
        os.fsync(descriptor)


def read_secret(path: Path) -> bytes:
    """A pre-shared secret. UnsafeMode if others could read it."""
    require_private_file(path)
    return path.read_bytes()


def sync_directory(path: Path) -> None:
    """Names that were made, changed or removed in a directory survive the loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class KeyFiles:
    """The files of one directory, by name. Every method is durable when it returns."""

    _SUFFIX = ".key"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> Iterator[str]:
        """Names of all files, also of those half written."""
        for path in sorted(self._directory.glob(f"*{self._SUFFIX}*")):
            yield path.name

    def require_private(self) -> None:
        """Raises UnsafeMode."""
        for name in self.names():
            require_private_file(self._directory / name)

    def name(self, number: int, direction: int) -> str:
        """Of the material for one direction of one segment."""
        return f"{number:010x}-{direction}{self._SUFFIX}"

    def write(self, name: str, material: bytes) -> None:
        """A new file; it has its name only once it is whole."""
        partial = self._directory / f"{name}.new"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            left = memoryview(material)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, self._directory / name)
        sync_directory(self._directory)

    def read(self, name: str, first: int, count: int) -> bytes:
        """Bytes of a file; fewer than asked for where the file ends."""
        descriptor = os.open(self._directory / name, os.O_RDONLY)
        try:
            return os.pread(descriptor, count, first)
        finally:
            os.close(descriptor)

    def wipe(self, name: str, first: int, end: int) -> None:
        """Overwrite bytes with zeros."""
        descriptor = os.open(self._directory / name, os.O_WRONLY)
        try:
            while first < end:
                first += os.pwrite(descriptor, bytes(min(end - first, _PIECE)), first)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def wiped(self, name: str, first: int, end: int) -> bool:
        """Whether these bytes are all zero."""
        return not any(
            any(self.read(name, at, min(end - at, _PIECE))) for at in range(first, end, _PIECE)
        )

    def destroy(self, name: str) -> None:
        """Overwrite a file and remove it; nothing if it is not there."""
        path = self._directory / name
        try:
            self.wipe(name, 0, path.stat().st_size)
            path.unlink()
        except FileNotFoundError:
            return
        sync_directory(self._directory)
