"""Pickles in which an array of bits takes a bit for each: an eighth of what is sealed and carried.

Blocks are uint8 arrays of 0 and 1 wherever they are worked on, in engines, too. That costs nothing
there, and most of what a call costs on its way.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dumps"]

_LEAST_BITS = 64


def dumps(value: Any) -> bytes:
    """For `pickle.loads`; arrays come back with the values, shape and type that they had."""
    out = io.BytesIO()
    _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(value)
    return out.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """As `pickle` has it: how to make the value again, or NotImplemented."""
        if type(value) is not np.ndarray or value.dtype != np.uint8 or value.size < _LEAST_BITS:
            return NotImplemented
        if int(value.max()) > 1:
            return NotImplemented
        return _unpacked, (np.packbits(value).tobytes(), value.shape)


def _unpacked(packed: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    bits = np.frombuffer(packed, np.uint8)
    return np.unpackbits(bits, count=math.prod(shape)).reshape(shape)
