"""Between what the intensities of one block lay: the ladders that its bounds are made with.

What a sender's power monitor bounds for the time of a block is said with the commitment to its
list, before any setting is: in millionths, so that both sides reckon with the same number. It never
makes an interval narrower than the declared one, and never wider than both have agreed upon.
"""

from __future__ import annotations

import math
from dataclasses import replace

from bellrelay.distill.ladder import Ladder

from .block import BlockAborted, Cause

__all__ = ["said_deviation", "used_ladder"]

_MILLION = 10**6


def said_deviation(declared: Ladder, measured: float) -> int:
    """Deviation to say of our sender, in millionths: the declared, or the measured if it is more.

    ValueError: it is no number.
    """
    if not 0.0 <= measured < math.inf:
        raise ValueError(f"a deviation of {measured}")
    return max(round(declared.deviation * _MILLION), math.ceil(measured * _MILLION))


def used_ladder(declared: Ladder, said: int, limit: float) -> Ladder:
    """The ladder of a block of which its sender says this deviation, in millionths.

    Raises
    ------
    BlockAborted
        It is more than ``limit``, with which the block would still be bounded, or less than what is
        declared.
    """
    if said < round(declared.deviation * _MILLION):
        raise BlockAborted(Cause.PROTOCOL, "COMMIT: intensities closer than they are declared")
    limit = max(limit, declared.deviation)
    if said > math.ceil(limit * _MILLION):
        raise BlockAborted(
            Cause.INTENSITY, f"intensities may be off by {said / _MILLION:g}, {limit:g} is allowed"
        )
    return replace(declared, deviation=min(max(declared.deviation, said / _MILLION), limit))
