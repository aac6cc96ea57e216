"""Lines out of pieces of a stream, none of them longer than it may be."""

from __future__ import annotations

__all__ = ["LineSplitter"]


class LineSplitter:
    """Of one stream.

    Parameters
    ----------
    longest
        Bytes of a line without its newline; a longer one is stepped over.

    Attributes
    ----------
    too_long : int
        Lines that were.
    """

    def __init__(self, longest: int) -> None:
        self.too_long = 0
        self._longest = longest
        self._rest = b""
        self._skip = False

    def take(self, data: bytes) -> list[bytes]:
        """Lines that have ended with this piece, without their newlines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._skip and lines:
            del lines[0]
            self._skip = False
        if len(self._rest) > self._longest:
            self.too_long += not self._skip
            self._rest, self._skip = b"", True
        if self._skip:
            # What is stepped over need not be kept.
            self._rest = b""
        found = [line for line in lines if len(line) <= self._longest]
        self.too_long += len(lines) - len(found)
        return found

    def skip_line(self) -> None:
        """What comes up to the next newline is the rest of a line that nobody has seen begin."""
        self._rest, self._skip = b"", True

    def begin_anew(self) -> bool:
        """Another stream follows; whether the last one ended within a line."""
        torn = bool(self._rest)
        self._rest, self._skip = b"", False
        return torn
