"""Files of recorded tags: one module per format, found by magic or extension."""

from __future__ import annotations

from .blocks import DEFAULT_BLOCK, Block, ReadNotes, TagFile
from .registry import FORMATS, WRITABLE, detect_format, open_tags, write_tags
from .tag_file_error import TagFileError, TagFileNotWritten

__all__ = [
    "DEFAULT_BLOCK",
    "FORMATS",
    "WRITABLE",
    "Block",
    "ReadNotes",
    "TagFile",
    "TagFileError",
    "TagFileNotWritten",
    "detect_format",
    "open_tags",
    "write_tags",
]
