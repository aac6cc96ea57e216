"""How a block of bits is cut into frames of a code, and how bits are dealt to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import cascade_shuffle

__all__ = ["Layout", "collect", "deal", "layout_of"]

_MOST_COLUMNS = 1024
_LARGEST_LIFT = 1024
_LEAST_COLUMNS = 32
_USUAL_COLUMNS = 256
_VECTOR_LIFT = 64
_SMALLEST_LIFT = 8


class Layout(NamedTuple):
    """Frames of a block; frame f holds bits f, f + frames, f + 2 frames ... of the block.

    lift: size of the circulants. columns: of the base matrix; columns * lift is at least the length
    of a frame, the places beyond it hold zeros that both sides know. lengths: (frames,) int64.
    """

    lift: int
    columns: int
    lengths: NDArray[np.int64]


def layout_of(n: int) -> Layout:
    """Frames of a block of n bits, about 10^6 bits each and equal to within one.

    Circulants are as large as the decoder's vectors like them, yet the base matrix of a short frame
    keeps a few hundred columns. Their number is rounded up to 6 significant bits, so that blocks of
    almost the same length share a code.
    """
    frames = -(-n // (_MOST_COLUMNS * _LARGEST_LIFT))
    lengths = np.array([-(-(n - frame) // frames) for frame in range(frames)], np.int64)
    longest = int(lengths[0])
    lift = _SMALLEST_LIFT
    while lift < _VECTOR_LIFT and 2 * lift * _USUAL_COLUMNS <= longest:
        lift *= 2
    while lift * _MOST_COLUMNS < longest:
        lift *= 2
    columns = max(_LEAST_COLUMNS, -(-longest // lift))
    grain = 1 << max(0, columns.bit_length() - 6)
    return Layout(lift, -(-columns // grain) * grain, lengths)


def deal(bits: NDArray[np.uint8], seed: bytes, layout: Layout) -> NDArray[np.uint8]:
    """Bits of a block as frames, each in a random order of its own.

    A drift of the error rate is dealt to all frames alike. The orders come from the public seed,
    which is unknown to whoever could place errors, so that no one can make a pattern that the code
    decodes badly.

    Returns
    -------
    (frames, columns * lift) uint8, zeros beyond a frame's length.
    """
    frames = layout.lengths.size
    dealt = np.zeros((frames, layout.columns * layout.lift), np.uint8)
    for frame, length in enumerate(layout.lengths):
        dealt[frame, :length] = bits[frame::frames]
        cascade_shuffle.shuffle(dealt[frame, :length], _order(seed, frame, int(length)))
    return dealt


def collect(dealt: NDArray[np.uint8], seed: bytes, layout: Layout) -> NDArray[np.uint8]:
    """(n,) uint8, the block that was dealt."""
    frames = layout.lengths.size
    bits = np.empty(int(layout.lengths.sum()), np.uint8)
    for frame, length in enumerate(layout.lengths):
        own = dealt[frame, :length].copy()
        cascade_shuffle.unshuffle(own, _order(seed, frame, int(length)))
        bits[frame::frames] = own
    return bits


def _order(seed: bytes, frame: int, length: int) -> NDArray[np.uint32]:
    return cascade_shuffle.expand(seed, f"order of LDPC frame {frame}", length)
