"""What the reference clock says of itself: White Rabbit, PPS or 10 MHz, one line in a file.

Whatever watches the reference (``wr_mon``, ``chronyc``, a GPS receiver's own program) writes, as
often as it likes, a file whose last line is::

    STATE [KEY=VALUE ...]

STATE is ``locked``, ``holdover``, ``free`` or ``lost``. Keys: ``offset_ps``, of the reference's own
servo; ``utc_ns``, when that was, without which the file's own time counts. Others are passed over.
The file is best replaced in one step (written beside it and renamed).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["ReferenceState", "ReferenceStatus", "parse_reference_line", "read_reference"]

_LONGEST = 65536


class ReferenceState(StrEnum):
    """As the file says it; unknown: no file, an old one, or none of these words."""

    LOCKED = "locked"
    HOLDOVER = "holdover"
    FREE = "free"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ReferenceStatus:
    """State of a reference; offset_ps NaN where it is not told, age_s of what was told."""

    state: ReferenceState
    offset_ps: float = math.nan
    age_s: float = math.nan
    why: str = ""

    @property
    def locked(self) -> bool:
        """Whether the clock can be relied on."""
        return self.state is ReferenceState.LOCKED


def parse_reference_line(line: str) -> tuple[ReferenceState, dict[str, float]]:
    """State and numbers of a line.

    Raises
    ------
    ValueError
        No such state, or a known key without a number.
    """
    words = line.split()
    if not words or words[0] not in set(ReferenceState) - {ReferenceState.UNKNOWN}:
        raise ValueError(f"no state of a reference: {line[:40]!r}")
    numbers: dict[str, float] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if equals and key in ("offset_ps", "utc_ns"):
            numbers[key] = float(value)
    return ReferenceState(words[0]), numbers


def read_reference(path: Path, stale_s: float, now_ns: int | None = None) -> ReferenceStatus:
    """The reference's state; unknown rather than an exception, with the reason.

    Parameters
    ----------
    stale_s
        What is older is no longer believed.
    now_ns
        UTC nanoseconds; None: the machine's clock.
    """
    now = time.time_ns() if now_ns is None else now_ns
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LONGEST))
            text = file.read().decode("utf-8", "replace")
            written = path.stat().st_mtime_ns
    except OSError as error:
        return ReferenceStatus(ReferenceState.UNKNOWN, why=f"{path}: {error.strerror}")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ReferenceStatus(ReferenceState.UNKNOWN, why=f"{path}: empty")
    try:
        state, numbers = parse_reference_line(lines[-1])
    except ValueError as error:
        return ReferenceStatus(ReferenceState.UNKNOWN, why=f"{path}: {error}")
    age = (now - numbers.get("utc_ns", written)) * 1e-9
    offset = numbers.get("offset_ps", math.nan)
    # A time in the future is no better than an old one, but for clocks that differ a little.
    if not -1.0 <= age <= stale_s:
        return ReferenceStatus(ReferenceState.UNKNOWN, offset, age, f"{path}: {age:.1f} s old")
    return ReferenceStatus(state, offset, age)
