"""Times of the event board in clocks: the gateware's own, and those of its link."""

from __future__ import annotations

from bellrelay_gateware.timing import (
    COMMAND_CLOCKS,
    EXECUTE_CLOCKS,
    RECEIVE_TIMEOUT_CLOCKS,
    START_CLOCKS,
    decide_clocks,
    first_select_clocks,
)

__all__ = [
    "COMMAND_CLOCKS",
    "EXECUTE_CLOCKS",
    "FRAME_START_CLOCKS",
    "LINK_LOAD_CLOCKS",
    "LINK_NEXT_CLOCKS",
    "LINK_READ_CLOCKS",
    "RECEIVE_TIMEOUT_CLOCKS",
    "SELECT_CLOCKS",
    "START_CLOCKS",
    "decide_clocks",
    "first_select_clocks",
]

SELECT_CLOCKS = 1
"""A kind of frame that is not sent takes so long to be passed over."""

FRAME_START_CLOCKS = 1
"""From the look at a frame to its first word in the link buffer."""

LINK_LOAD_CLOCKS = 3
"""From a word's entry into an empty link buffer to its first byte on offer."""

LINK_NEXT_CLOCKS = 1
"""From the last byte of a word to the first one of the next, if that is there."""

LINK_READ_CLOCKS = 1
"""A word is taken out of the buffer so long before its first byte is on offer."""
