"""What a board that is not there offers: the event board and the gateware board alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.geometry import BoardGeometry

__all__ = ["Board", "LinkPace", "fine_code", "fine_table"]


@runtime_checkable
class Board(Protocol):
    """A relay's board, advanced by hand.

    Clock 0 is the first one after reset; ``run(n)`` lets the clocks ``clock .. clock + n - 1``
    pass. A tick is ``geometry.tick_clocks`` of them, the first one begins at clock 0.
    """

    geometry: BoardGeometry

    @property
    def clock(self) -> int:
        """Clocks since reset: the number of the next clock that `run` lets pass."""
        ...

    def write(self, data: bytes) -> None:
        """Append command bytes: one is delivered in each clock from the current one on."""
        ...

    def stimulate(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        """Append arrivals at the inputs.

        Parameters
        ----------
        t
            (n,) picoseconds since the start of cell 0 of the acquisition, not decreasing, within
            a call and from call to call; not negative.
        channel
            (n,) 0 to ``n_detectors``.

        What has been appended belongs to the acquisition that runs; while none runs, to the next
        one. What is left over when an acquisition starts to drain is discarded: stimulus for the
        next acquisition is given after that.

        Raises
        ------
        ValueError
            Lengths differ, order, sign or channel are wrong.
        """
        ...

    def run(self, clocks: int) -> bytes:
        """Let clocks pass; the bytes that left the link in them."""
        ...

    def close(self) -> None:
        """Give back what the board holds. May be called twice."""
        ...


@dataclass(frozen=True)
class LinkPace:
    """When the other end of the link takes a byte.

    In clock ``c`` it takes one, if the board offers it, where ``c % clocks_per_byte == 0`` and
    ``c`` lies in none of the half-open ``stalls`` ``(clock, length)``.

    Raises
    ------
    ValueError
        ``clocks_per_byte`` below 1, a stall before clock 0 or of negative length.
    """

    clocks_per_byte: int = 1
    stalls: Sequence[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        if self.clocks_per_byte < 1:
            raise ValueError(f"clocks_per_byte is {self.clocks_per_byte}; allowed: at least 1")
        if any(clock < 0 or length < 0 for clock, length in self.stalls):
            raise ValueError("stalls: neither clock nor length is negative")

    def takes(self, clock: int) -> bool:
        """Whether a byte offered in this clock is taken."""
        return clock % self.clocks_per_byte == 0 and not any(
            begin <= clock < begin + length for begin, length in self.stalls
        )


def fine_code(f: NDArray[np.int64], geometry: BoardGeometry) -> NDArray[np.int64]:
    """Code that an ideal front end gives for arrivals ``f`` picoseconds into a cell.

    Parameters
    ----------
    f
        (n,) int64, ``0 <= f < clock_period_ps``.

    Returns
    -------
    (n,) int64: ``f * 2**code_bits // clock_period_ps``.
    """
    return (f << geometry.code_bits) // geometry.clock_period_ps


def fine_table(geometry: BoardGeometry) -> NDArray[np.int64]:
    """Linear table for the codes of :func:`fine_code`: ``code * clock_period_ps >> code_bits``.

    Returns
    -------
    (2**code_bits,) int64, picoseconds; one channel.
    """
    codes = np.arange(1 << geometry.code_bits, dtype=np.int64)
    return codes * geometry.clock_period_ps >> geometry.code_bits
