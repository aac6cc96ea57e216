"""Whether a stretch of bits comes a second time: a buffer sent twice, a generator started anew.

Of every stretch of 128 bits, wherever it begins, a secret rule takes about one in a thousand: the
same stretch is taken whenever it comes. Of those that are taken a keyed hash is remembered.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReusedChoices"]

_WORD = 64
_RARE = 54
"""Right shift after which one word in 2**10 is zero."""


class ReusedChoices:
    """Remembers a sample of what was fed and finds it again.

    A repetition of a few thousand bits is found nearly surely if its first showing is remembered;
    two random stretches are equal with a probability of 2**-118.

    Parameters
    ----------
    capacity
        Stretches that are remembered; the oldest go first.
    """

    def __init__(self, capacity: int = 1 << 18) -> None:
        self._capacity = capacity
        self._key = secrets.token_bytes(32)
        self._multiplier = np.uint64(secrets.randbits(64) | 1)
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def feed(self, bit: NDArray[np.uint8]) -> bool:
        """Take bits that follow each other, (n,) uint8; whether some of them were there before."""
        words = _words(bit)
        if len(words) <= _WORD:
            return False
        front = words[:-_WORD]
        again = False
        for at in np.flatnonzero((front * self._multiplier) >> np.uint64(_RARE) == 0):
            stretch = words[[at, at + _WORD]].tobytes()
            digest = blake2b(stretch, key=self._key, digest_size=16).digest()
            again |= digest in self._seen
            self._seen[digest] = None
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)
        return again


def _words(bit: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n - 63,) uint64: the 64 bits from each place on."""
    words = bit.astype(np.uint64)
    width = 1
    while width < _WORD:
        if len(words) <= width:
            return words[:0]
        words = (words[:-width] << np.uint64(width)) | words[width:]
        width *= 2
    return words
