"""Philox4x32-10: random numbers by position, so that any slot's choices can be asked for.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC'11. A block of four 32-bit words is a function of a 128-bit counter and a 64-bit key alone.
"""

from __future__ import annotations

import numpy as np

from .compiled import njit

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_S32 = np.uint64(32)
ROUNDS = 10


@njit(cache=True, inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):
    """One block: counter words c0..c3 and key words k0, k1, each an uint64 below 2**32.

    Returns four uint64 below 2**32.
    """
    for _ in range(ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _S32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _S32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(cache=True)
def philox_words(counters, key, out):
    """Blocks for many counters: counters (n, 4), key (2,), out (n, 4); all uint64 below 2**32."""
    for n in range(counters.shape[0]):
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = philox4x32(
            counters[n, 0], counters[n, 1], counters[n, 2], counters[n, 3], key[0], key[1]
        )
