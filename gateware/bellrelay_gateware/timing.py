"""Times of the relay in clocks: everything that can be seen from outside is a function of these.

Clock 0 is the first one after reset. Tick ``n`` (from reset) is the clocks ``n K .. (n + 1) K - 1``
with ``K = tick_clocks``; ``B = (n + 1) K`` is its boundary. The event board computes with the same
numbers; this module needs no gateware tools.

Commands
    A command *arrives* in the clock ``c`` after the one in which its last byte is accepted, if both
    CRCs hold. If one is unanswered then, it is dropped. It is judged by the state in that clock,
    and a READ gives ``state`` and ``temperature`` as they are in that clock. It *completes* in
    clock ``c + COMMAND_CLOCKS``: in the tick ``n`` that holds this clock it is answered; written
    values are in force from tick ``n + 1`` on; a start arms in this clock, and running begins at
    the first boundary ``B >= c + START_CLOCKS`` at which no histogram of the acquisition before is
    left to send. Every command that arrives sets ``c`` anew for this.

Frames
    The framer decides in clock ``B + decide_clocks(geometry)``; see
    :mod:`bellrelay_gateware.framer` for every word after that, and
    :mod:`bellrelay_gateware.link_buffer` for the bytes.
"""

from __future__ import annotations

from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry

__all__ = [
    "COMMAND_CLOCKS",
    "EXECUTE_CLOCKS",
    "RECEIVE_TIMEOUT_CLOCKS",
    "START_CLOCKS",
    "WORD_CLOCKS",
    "decide_clocks",
    "first_select_clocks",
]

EXECUTE_CLOCKS = 512
"""From the arrival of a command to the first look at a register: all that a tick left behind
has passed the stages by then."""

COMMAND_CLOCKS = 4096
"""From the arrival of a command to its completion: the longest one is executed by then."""

START_CLOCKS = 5120 + 16
"""From the arrival of a start to cell 0, at least: completion, then the dividers."""

WORD_CLOCKS = 7
"""From a word's place in its frame to the link buffer: place, address, memory, its register, the
frame's words, the word, and its CRC."""

RECEIVE_TIMEOUT_CLOCKS = 1 << 20
"""A command frame that pauses this long between two bytes is damaged."""


def decide_clocks(geometry: BoardGeometry) -> int:
    """From a tick's boundary to the clock in which its frames are decided upon.

    Longer than the longest way of a hit: the front end, the stages, and ``align_cells`` at its
    highest.
    """
    return geometry.align_depth + 64


def first_select_clocks(geometry: BoardGeometry) -> int:
    """From the decision to the clock that looks at the first kind of frame.

    One clock takes the snapshot, each of the ``n_channels + 5`` kinds of frame takes one, then the
    counters are added up one per clock, and two clocks pass before and after.
    """
    return 1 + (geometry.n_channels + 5) + len(counters(geometry)) + 4
