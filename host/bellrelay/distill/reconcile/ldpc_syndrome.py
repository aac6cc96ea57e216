"""Parities of a frame's bits over circulant rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled_bare

from .ldpc_code import QcCode

__all__ = ["parities"]


def parities(
    code: QcCode, bits: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Parities of the bits on ranges of edges.

    Parameters
    ----------
    bits
        (columns * lift,) uint8 of 0 and 1.
    start, end
        (k,) int64: range r holds the edges start[r] <= e < end[r].

    Returns
    -------
    (k, lift) uint8: entry z of range r is the parity of the bits of check z of such a row.
    """
    result = np.zeros((start.size, code.lift), np.uint8)
    _accumulate(bits, code.column, code.shift, start, end, result)
    return result


@compiled_bare
def _accumulate(
    bits: NDArray[np.uint8],
    column: NDArray[np.int64],
    shift: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    result: NDArray[np.uint8],
) -> None:
    lift = result.shape[1]
    for r in range(start.size):
        parity = result[r]
        for e in range(start[r], end[r]):
            block = bits[column[e] * lift : (column[e] + 1) * lift]
            turned = lift - shift[e]
            # The circulant in two pieces: each is a loop over neighbours.
            lower, upper = parity[:turned], parity[turned:]
            source = block[shift[e] :]
            for z in range(lower.size):
                lower[z] ^= source[z]
            for z in range(upper.size):
                upper[z] ^= block[z]
