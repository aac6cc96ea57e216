"""Quasi-cyclic LDPC codes, built at run time and the same on every machine.

A code is a *base matrix* of circulants: entry (row, column) is empty or the identity of size
`lift`, rotated by a shift. Edges per column follow a degree distribution (`ldpc_degrees`), those
per row differ by one at most. The construction is greedy, in the spirit of progressive edge growth
(X.-Y. Hu, E. Eleftheriou and D.-M. Arnold, IEEE Trans. Inf. Theory 51, 386 (2005)):

- columns of degree 2 form one open chain through the rows, so that they close no cycle;
- every other column takes the rows that have the fewest edges, the largest columns first;
- a shift closes as few cycles of length 4 as can be, which is none but in codes of short frames,
  and as few of length 6 as can be then. Cycles of circulants are sums of differences of shifts
  (M. P. C. Fossorier, IEEE Trans. Inf. Theory 50, 1788 (2004)).

Random choices come from a public key stream, so that both sides build the same code from four
numbers; `fingerprint` lets them make sure.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from .cascade_shuffle import expand
from .ldpc_degrees import column_degrees

__all__ = ["QcCode", "construct", "fingerprint"]

_CODES_KEPT = 32
"""Codes that are remembered: one of a frame of 10^6 bits takes 0.1 s to build and 0.1 MB."""


class QcCode(NamedTuple):
    """A base matrix by rows; bit c * lift + i stands in column c.

    Check z of row r is the parity of the bits column[e] * lift + (z + shift[e]) mod lift over the
    edges e of the row, row_start[r] <= e < row_start[r + 1].

    columns, lift: int. row_start: (rows + 1,) int64. column, shift: (edges,) int64.
    """

    columns: int
    lift: int
    row_start: NDArray[np.int64]
    column: NDArray[np.int64]
    shift: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows of the base matrix."""
        return self.row_start.size - 1

    @property
    def edges(self) -> int:
        """Circulants in the base matrix."""
        return self.column.size


@lru_cache(maxsize=_CODES_KEPT)
def construct(columns: int, rows: int, lift: int) -> QcCode:
    """The code of these sizes.

    Parameters
    ----------
    columns, rows
        Of the base matrix; 3 <= rows < columns.
    lift
        Size of the circulants, from 2.

    Raises
    ------
    ValueError
        The sizes are none of a code.
    """
    if not 3 <= rows < columns or lift < 2:
        raise ValueError("a code has 3 or more rows, more columns than rows, circulants from 2")
    degree = column_degrees(columns, rows)
    label = f"ldpc {columns} {rows} {lift}"
    edge_row = _place(degree, rows, expand(b"", label + " rows", columns * rows))
    first = np.concatenate([[0], np.cumsum(degree)])
    shift = _choose_shifts(first, edge_row, rows, lift, expand(b"", label + " shifts", first[-1]))
    # Edges are ordered by row; columns are renumbered at random, so that the last ones, which a
    # frame may leave unused, are of all degrees.
    number = np.argsort(expand(b"", label + " columns", columns), kind="stable")
    edge_column = np.repeat(number, degree)
    order = np.lexsort((expand(b"", label + " edges", edge_row.size), edge_row))
    row_start = np.concatenate([[0], np.cumsum(np.bincount(edge_row, minlength=rows))])
    code = QcCode(columns, lift, row_start, edge_column[order], shift[order])
    for array in code[2:]:
        array.flags.writeable = False
    return code


@lru_cache(maxsize=_CODES_KEPT)
def fingerprint(columns: int, rows: int, lift: int) -> bytes:
    """Eight bytes of a hash of the code, which differ if two sides ever built different ones."""
    code = construct(columns, rows, lift)
    content = hashlib.sha256(struct.pack("<QQQ", columns, rows, lift))
    for array in (code.row_start, code.column, code.shift):
        content.update(array.astype("<i8").tobytes())
    return content.digest()[:8]


def _place(degree: NDArray[np.int64], rows: int, random: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Rows of the edges of every column, column by column; degrees ascend from 2."""
    first = np.concatenate([[0], np.cumsum(degree)])
    edge_row = np.empty(first[-1], np.int64)
    chain = int(np.count_nonzero(degree == 2))
    links = np.arange(chain)
    edge_row[: 2 * chain : 2] = links
    edge_row[1 : 2 * chain : 2] = links + 1
    filled = np.bincount(edge_row[: 2 * chain], minlength=rows)
    ties = random.reshape(-1, rows).astype(np.int64)
    for column in range(degree.size - 1, chain - 1, -1):
        chosen = np.argsort((filled << 32) | ties[column], kind="stable")[: degree[column]]
        edge_row[first[column] : first[column + 1]] = chosen
        filled[chosen] += 1
    return edge_row


@compiled
def _choose_shifts(
    first: NDArray[np.int64],
    edge_row: NDArray[np.int64],
    rows: int,
    lift: int,
    random: NDArray[np.uint32],
) -> NDArray[np.int64]:
    """A shift for every edge, column by column.

    A column with shifts s and t in rows a and b makes the difference t - s from a to b. A shift t
    closes a cycle of length 4 where an earlier column has the difference t - s from a to b too, and
    one of length 6 where two have it by way of a third row.
    """
    # Differences from row a to row b, in `difference` from place[a, b] on; known[a, b] of them.
    known = np.zeros((rows, rows), np.int64)
    for c in range(first.size - 1):
        for i in range(first[c], first[c + 1]):
            for j in range(first[c], first[c + 1]):
                known[edge_row[i], edge_row[j]] += 1
    place = np.zeros((rows, rows), np.int64)
    total = 0
    for a in range(rows):
        for b in range(rows):
            place[a, b] = total
            total += known[a, b]
            known[a, b] = 0
    difference = np.zeros(total, np.int64)
    # Heavier than all cycles of length 6 that there can be.
    cycle_of_four = np.int64(1) << 40
    cost = np.zeros(lift, np.int64)
    shift = np.zeros(edge_row.size, np.int64)
    for c in range(first.size - 1):
        for k in range(first[c], first[c + 1]):
            to = edge_row[k]
            cost[:] = 0
            for j in range(first[c], k):
                origin = edge_row[j]
                for t in range(place[origin, to], place[origin, to] + known[origin, to]):
                    cost[(shift[j] + difference[t]) % lift] += cycle_of_four
                for by in range(rows):
                    for t in range(place[origin, by], place[origin, by] + known[origin, by]):
                        part = shift[j] + difference[t]
                        for u in range(place[by, to], place[by, to] + known[by, to]):
                            cost[(part + difference[u]) % lift] += 1
            # The cheapest, the first of them from a random place on.
            best = np.int64(random[k]) % lift
            for step in range(1, lift):
                s = (np.int64(random[k]) + step) % lift
                if cost[s] < cost[best]:
                    best = s
            shift[k] = best
        for i in range(first[c], first[c + 1]):
            for j in range(first[c], first[c + 1]):
                if i != j:
                    a, b = edge_row[i], edge_row[j]
                    difference[place[a, b] + known[a, b]] = (shift[j] - shift[i]) % lift
                    known[a, b] += 1
    return shift
