"""Times of the event board in clocks: the gateware's own, and those of its link."""

from __future__ import annotations

from bellrelay_gateware.timing import (
    COMMAND_CLOCKS,
    EXECUTE_CLOCKS,
    RECEIVE_TIMEOUT_CLOCKS,
    START_CLOCKS,
    WORD_CLOCKS,
    decide_clocks,
    first_select_clocks,
)

__all__ = [
    "ARRIVAL_CLOCKS",
    "COMMAND_CLOCKS",
    "EXECUTE_CLOCKS",
    "FRAME_START_CLOCKS",
    "LINK_OFFER_CLOCKS",
    "LINK_POP_CLOCKS",
    "RECEIVE_TIMEOUT_CLOCKS",
    "SELECT_CLOCKS",
    "START_CLOCKS",
    "WORD_CLOCKS",
    "decide_clocks",
    "first_select_clocks",
]

SELECT_CLOCKS = 1
"""A kind of frame that is not sent takes so long to be passed over."""

FRAME_START_CLOCKS = 1
"""From the look at a frame to its first word; that is in the link buffer `WORD_CLOCKS` later."""

LINK_POP_CLOCKS = 5
"""From a word's entry into the link buffer to its way out, at least."""

LINK_OFFER_CLOCKS = 1
"""From there to its first byte on offer."""

ARRIVAL_CLOCKS = 1
"""From the last byte of a command to its arrival."""
