"""The lines of a text file that grows, and is replaced (rotated) or begun anew (truncated)."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .line_splitter import LineSplitter

__all__ = ["FollowedFile"]

_PIECE = 1 << 20


class FollowedFile:
    """Follows one path. A line counts once its newline is there.

    A file that is replaced is read to its end first; what somebody appends to it after that is not
    seen. A file that is cut short is read from its beginning.

    Parameters
    ----------
    path
        Need not be there yet.
    from_end
        Of what the file has when it is first seen, so many bytes are read, whole lines alone.
    longest
        Bytes of a line; a longer one is stepped over.

    Attributes
    ----------
    torn : int
        Lines that had no end when their file was replaced or cut short.
    """

    def __init__(self, path: Path, *, from_end: int, longest: int) -> None:
        self.path = path
        self.torn = 0
        self._from_end = from_end
        self._lines = LineSplitter(longest)
        self._file = -1
        self._offset = 0
        self._awaited = False

    def __del__(self) -> None:
        self.close()

    @property
    def too_long(self) -> int:
        """Lines that were longer than they may be."""
        return self._lines.too_long

    @property
    def there(self) -> bool:
        """Whether there was a file to read."""
        return self._file >= 0

    def read(self) -> list[bytes]:
        """Lines that were appended since the last call, in the file's order.

        Raises
        ------
        OSError
            The file is there and cannot be read.
        """
        found = self._drain()
        try:
            if self._replaced():
                found += self._drain()
                self._open()
                found += self._drain()
        except FileNotFoundError:
            # Whatever comes is new, from its first line.
            self._awaited = True
        except OSError:
            if not found:
                raise
            # The next call says so.
        return found

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _replaced(self) -> bool:
        there = os.stat(self.path)
        if self._file < 0:
            return True
        ours = os.fstat(self._file)
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def _open(self) -> None:
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "not a regular file", str(self.path))
        found_there = self._file < 0 and not self._awaited
        self.close()
        self._file, self._offset = file, 0
        self._begin_anew()
        if found_there:
            size = os.fstat(file).st_size
            self._offset = max(0, size - self._from_end)
            if self._offset and os.pread(file, 1, self._offset - 1) != b"\n":
                self._lines.skip_line()

    def _begin_anew(self) -> None:
        self.torn += self._lines.begin_anew()

    def _drain(self) -> list[bytes]:
        if self._file < 0:
            return []
        if os.fstat(self._file).st_size < self._offset:
            self._offset = 0
            self._begin_anew()
        found = []
        while piece := os.pread(self._file, _PIECE, self._offset):
            self._offset += len(piece)
            found += self._lines.take(piece)
        return found
