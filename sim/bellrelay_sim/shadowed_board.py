"""A board of which only the link is seen, with a shadow that knows when it acquires."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .board import Board
from .event_board import EventBoard

__all__ = ["ShadowedBoard"]


class ShadowedBoard:
    """Passes everything on to a board; an event board without photons gets the same commands.

    What the commands do, and in which clock, is the same on both: so the shadow says when the
    board begins and stops to acquire, long before a heartbeat tells it.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._shadow = EventBoard(board.geometry)
        self.geometry = board.geometry

    @property
    def clock(self) -> int:
        """Clocks since reset."""
        return self._board.clock

    @property
    def cell_zero(self) -> int | None:
        """Clock of cell 0 while the board acquires, otherwise None."""
        return self._shadow.cell_zero

    @property
    def acquisition(self) -> int | None:
        """Id of the acquisition that is about to begin or runs; None where there is none."""
        return self._shadow.acquisition

    def write(self, data: bytes) -> None:
        """Append command bytes."""
        self._board.write(data)
        self._shadow.write(data)

    def stimulate(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        """Append arrivals."""
        self._board.stimulate(t, channel)

    def run(self, clocks: int) -> bytes:
        """Let clocks pass; the bytes that left the link of the board in them."""
        self._shadow.run(clocks)
        return self._board.run(clocks)

    def close(self) -> None:
        """Give back what the board holds."""
        self._board.close()
