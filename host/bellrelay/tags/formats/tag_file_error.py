"""The errors of files of recorded tags."""

from __future__ import annotations

from pathlib import Path

__all__ = ["TagFileError", "TagFileNotWritten"]


class TagFileError(Exception):
    """A file that cannot be read or written as recorded tags.

    Attributes
    ----------
    path : Path
    offset : int or None
        Byte, or for columns row, at which it went wrong.
    reason : str
    """

    def __init__(self, path: Path, reason: str, offset: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.offset = offset
        where = "" if offset is None else f" at {offset}"
        super().__init__(f"{path}{where}: {reason}")


class TagFileNotWritten(TagFileError):
    """The file cannot be written: the disk is full, the folder is missing, and the like."""
