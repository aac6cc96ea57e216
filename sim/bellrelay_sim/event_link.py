"""The link of the event board: a buffer of words, and bytes that leave one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .board import LinkPace
from .compiled import njit
from .event_timing import LINK_OFFER_CLOCKS, LINK_POP_CLOCKS

__all__ = ["LinkModel"]

# State of the kernel (int64): the word that leaves next, how many of its bytes have left, and the
# clock in which the last byte of all left.
_WORD, _BYTE, _TAKEN, _N_STATE = range(4)


@njit(cache=True, nogil=True)
def _next_take(clock, per_byte, begins, ends):
    """First clock from ``clock`` on in which the other end takes a byte."""
    while True:
        rest = clock % per_byte
        if rest:
            clock += per_byte - rest
        if begins.size == 0:
            return clock
        k = np.searchsorted(begins, clock, side="right") - 1
        if k < 0 or clock >= ends[k]:
            return clock
        clock = ends[k]


@njit(cache=True, nogil=True)
def _drain(pushed, n_words, popped, state, per_byte, begins, ends, until):
    """Let bytes leave in clocks before ``until``; returns how many did.

    ``pushed`` is the clock in which a word enters the buffer, ``popped`` the one in which it is
    taken out of it: at least one clock later, and in the clock in which the last byte of the word
    before leaves, or later. Its first byte is on offer in the clock after that.
    """
    left = 0
    while state[_WORD] < n_words:
        w = state[_WORD]
        if state[_BYTE] == 0:
            popped[w] = max(pushed[w] + LINK_POP_CLOCKS, state[_TAKEN])
        offer = max(popped[w] + LINK_OFFER_CLOCKS, state[_TAKEN] + 1)
        while state[_BYTE] < 4:
            take = _next_take(offer, per_byte, begins, ends)
            if take >= until:
                return left
            left += 1
            state[_BYTE] += 1
            state[_TAKEN] = take
            offer = take + 1
        state[_BYTE] = 0
        state[_WORD] = w + 1
    return left


class LinkModel:
    """When every byte leaves, and how full the buffer is in any clock.

    Parameters
    ----------
    pace
        When the other end takes a byte.
    """

    def __init__(self, pace: LinkPace) -> None:
        self._begins, self._ends = _merged([(b, b + n) for b, n in pace.stalls])
        self._per_byte = pace.clocks_per_byte
        self._data = bytearray()  # from the first byte that has not been handed out on
        self._left = 0  # bytes at its beginning that have left
        self._pushed = np.empty(1 << 10, np.int64)
        self._popped = np.empty(1 << 10, np.int64)
        self._n = 0
        self._state = np.zeros(_N_STATE, np.int64)
        self._state[_TAKEN] = -1

    def push(self, frame: bytes, clock: int) -> None:
        """A frame enters, one word per clock from ``clock`` on; not before what came before."""
        words = len(frame) // 4
        self._make_room(words)
        self._pushed[self._n : self._n + words] = np.arange(clock, clock + words)
        # Until the kernel knows better: in the buffer.
        self._popped[self._n : self._n + words] = np.iinfo(np.int64).max
        self._n += words
        self._data += frame

    def advance(self, until: int) -> None:
        """Let all bytes leave that do so before clock ``until``."""
        self._left += _drain(
            self._pushed,
            self._n,
            self._popped,
            self._state,
            self._per_byte,
            self._begins,
            self._ends,
            until,
        )

    def stall(self, begin: int, end: int) -> None:
        """Nothing leaves from clock ``begin`` on and before ``end``; none of them has passed."""
        self.advance(begin)
        # The byte that is on offer may still be held up by a stall that has just ended.
        later = self._ends > begin - 2 * self._per_byte
        stalls = zip(self._begins[later].tolist(), self._ends[later].tolist(), strict=True)
        self._begins, self._ends = _merged([*stalls, (begin, end)])

    def fill(self, clock: int) -> int:
        """Words in the buffer at the beginning of ``clock``."""
        self.advance(clock)
        n = self._n
        entered = int(np.searchsorted(self._pushed[:n], clock, side="left"))
        taken = int(np.searchsorted(self._popped[:n], clock, side="left"))
        return entered - taken

    def take(self, until: int) -> bytes:
        """Bytes that left before clock ``until`` and have not been handed out."""
        self.advance(until)
        out = bytes(self._data[: self._left])
        del self._data[: self._left]
        self._left = 0
        return out

    @property
    def waiting(self) -> int:
        """Bytes that have not left, those included that enter in later clocks."""
        return len(self._data) - self._left

    def _make_room(self, words: int) -> None:
        done = int(self._state[_WORD])
        # What left a moment ago may still count in a question about the fill.
        if done > self._pushed.size // 2:
            keep = max(0, done - 4)
            self._pushed[: self._n - keep] = self._pushed[keep : self._n].copy()
            self._popped[: self._n - keep] = self._popped[keep : self._n].copy()
            self._n -= keep
            self._state[_WORD] -= keep
        while self._n + words > self._pushed.size:
            self._pushed = _doubled(self._pushed)
            self._popped = _doubled(self._popped)


def _merged(stalls: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begins and ends of stalls, in order and without overlap."""
    begins: list[int] = []
    ends: list[int] = []
    for begin, end in sorted(stalls):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        elif end > begin:
            begins.append(begin)
            ends.append(end)
    return np.array(begins, np.int64), np.array(ends, np.int64)


def _doubled(values: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.empty(2 * values.size, np.int64)
    out[: values.size] = values
    return out
