"""Rows cut in two: how a code discloses more, a little at a time, until it suffices.

A cut divides the edges of a row into a left and a right part. Once the parity of the left part is
disclosed, that of the right one follows, so that a check has become two smaller ones at the price
of one bit. Every code so far is contained in the next, so nothing that was disclosed is wasted:
the syndromes of distributed source coding by accumulation, read from the other end (D. Varodayan,
A. Aaron and B. Girod, Signal Processing 86, 3123 (2006)). Unlike punctured bits, cuts need no
secret randomness, and all that is disclosed are parities of the key.

First every row is cut into halves, then every half, in an order that spreads over the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ldpc_code import QcCode

__all__ = ["Cuts", "cut_rows", "cuts_of", "row_starts"]

# Multiples of this, modulo 2^32, spread evenly: 2^32 over the golden ratio.
_SPREAD = 0x9E3779B1
_LEAST_EDGES = 4
"""A part with fewer edges is not cut: checks of single bits would be the bits themselves."""


class Cuts(NamedTuple):
    """Cut k divides the edges start[k] ... end[k] before edge middle[k]; (cuts,) int64 each."""

    start: NDArray[np.int64]
    middle: NDArray[np.int64]
    end: NDArray[np.int64]


def cuts_of(code: QcCode) -> Cuts:
    """All cuts of a code, in the order in which they are made."""
    start, end = code.row_start[:-1], code.row_start[1:]
    order = np.argsort((np.arange(code.rows) * _SPREAD) % (1 << 32), kind="stable")
    start, end = start[order], end[order]
    made = []
    for _ in range(2):
        large = end - start >= _LEAST_EDGES
        start, end = start[large], end[large]
        middle = (start + end + 1) // 2
        made.append((start, middle, end))
        start, end = np.concatenate([start, middle]), np.concatenate([middle, end])
    return Cuts(*(np.concatenate(parts) for parts in zip(*made, strict=True)))


def row_starts(code: QcCode, cuts: Cuts, count: int) -> NDArray[np.int64]:
    """(rows + count + 1,) int64: `QcCode.row_start` after the first `count` cuts."""
    return np.sort(np.concatenate([code.row_start, cuts.middle[:count]]))


def cut_rows(
    code: QcCode, cuts: Cuts, syndrome: NDArray[np.uint8], done: int, left: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The syndrome after further cuts.

    Parameters
    ----------
    syndrome
        (rows + done, lift) uint8, by rows after the first `done` cuts.
    left
        (k, lift) uint8, parities of the left parts of the next k cuts.

    Returns
    -------
    (rows + done + k, lift) uint8.
    """
    before = row_starts(code, cuts, done)[:-1]
    after = row_starts(code, cuts, done + left.shape[0])[:-1]
    result = np.zeros((after.size, syndrome.shape[1]), np.uint8)
    result[np.searchsorted(after, before)] = syndrome
    for k, parity in enumerate(left, done):
        row, half = np.searchsorted(after, [cuts.start[k], cuts.middle[k]])
        result[half] = result[row] ^ parity
        result[row] = parity
    return result
