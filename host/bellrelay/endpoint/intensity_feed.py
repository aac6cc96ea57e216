"""Readings of a power monitor from a text file that grows.

A line per reading, fields separated by spaces or tabs::

    <UTC nanoseconds> <setting> <photons per pulse> [<variance> [<ladder>]]

The setting is ``s``, ``mu``, ``nu`` or ``o``; the variance that of single pulses, relative. The
ladder is the name of the one that was sent meanwhile, eight hexadecimal digits, as the sender was
told it; that of the configuration need not be said. Empty lines and lines that begin with ``#`` say
nothing. A line counts once its newline is there. The file may be replaced (rotated) or begun anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from bellrelay.distill.ladder import SETTINGS
from bellrelay.service.followed_file import FollowedFile

from .source_log import Reading

__all__ = ["ReadingsFile", "format_reading", "parse_reading", "reading_of"]

_FROM_END = 16 << 20
"""Of a file that is there already, so much is read: a block may have been sent some time ago."""
_LONGEST_LINE = 1 << 12
_LADDER = re.compile(r"[0-9a-f]{8}")


def parse_reading(line: str) -> Reading | None:
    """A reading from a line; None from one that says nothing.

    Raises
    ------
    ValueError
        Anything else.
    """
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    if not 3 <= len(fields) <= 5:
        raise ValueError(f"{len(fields)} fields, not 3 to 5")
    time_ns, setting, *numbers = fields[:4]
    mean, *variance = map(float, numbers)
    ladder = fields[4] if len(fields) == 5 else ""
    return reading_of(int(time_ns), setting, mean, variance[0] if variance else 0.0, ladder)


def reading_of(time_ns: int, setting: str, mean: float, variance: float, ladder: str) -> Reading:
    """A reading by the name of its setting. ValueError: setting or ladder have no such name."""
    if ladder and not _LADDER.fullmatch(ladder):
        raise ValueError(f"{ladder!r} is no name of a ladder")
    if setting not in SETTINGS:
        raise ValueError(f"setting {setting!r}, not one of {', '.join(SETTINGS)}")
    return Reading(time_ns, SETTINGS.index(setting), mean, variance, ladder)


def format_reading(reading: Reading) -> str:
    """The line of a reading, newline included."""
    numbers = f"{reading.mean!r} {reading.variance!r}"
    return (
        f"{reading.time_ns} {SETTINGS[reading.setting]} {numbers} {reading.ladder}".rstrip() + "\n"
    )


class ReadingsFile:
    """Follows the file; a file that is not there yet, or has nothing new, gives nothing.

    Attributes
    ----------
    malformed : int
        Lines that were no readings, so far; they are stepped over.
    complaint : str
        What the last of them was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.malformed = 0
        self.complaint = ""
        self._file = FollowedFile(path, from_end=_FROM_END, longest=_LONGEST_LINE)

    def read(self) -> list[Reading]:
        """What was appended since the last call, in the file's order.

        Raises
        ------
        OSError
            The file is there and cannot be read.
        """
        before = self._file.too_long
        lines = self._file.read()
        if self._file.too_long > before:
            self._complain("a line without an end", self._file.too_long - before)
        found = []
        for line in lines:
            try:
                reading = parse_reading(line.decode())
            except ValueError as error:
                self._complain(str(error))
                continue
            if reading is not None:
                found.append(reading)
        return found

    def _complain(self, what: str, times: int = 1) -> None:
        self.malformed += times
        self.complaint = what
