"""Tags as 64-bit words: channel in bits 63..56, picoseconds below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.frames import TAG_CHANNEL_SHIFT, TAG_TIME_MASK

from .compiled import compiled

__all__ = ["decode_words", "encode_words"]


@compiled
def _decode(words: NDArray[np.int64], t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
    for i in range(words.size):
        word = words[i]
        t[i] = word & TAG_TIME_MASK
        channel[i] = (word >> TAG_CHANNEL_SHIFT) & 0xFF


def decode_words(
    words: NDArray[np.uint64],
    out: tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Times and channels of words.

    Parameters
    ----------
    words
        (n,) uint64, contiguous.
    out
        Arrays to write to, (n,) int64 and (n,) uint8; new ones by default.

    Returns
    -------
    t, channel
        (n,) int64 ps, 0 to 2**56 - 1, and (n,) uint8.
    """
    if out is None:
        out = np.empty(words.size, dtype=np.int64), np.empty(words.size, dtype=np.uint8)
    t, channel = out
    if not t.size == channel.size == words.size:
        raise ValueError(f"{words.size} words for {t.size} times and {channel.size} channels")
    _decode(words.view(np.int64), t, channel)
    return t, channel


def encode_words(t: NDArray[np.int64], channel: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Words of tags.

    Raises
    ------
    ValueError
        A time outside 0 to 2**56 - 1 (20 hours).
    """
    if t.size and not (int(t.min()) >= 0 and int(t.max()) <= TAG_TIME_MASK):
        raise ValueError(f"times from {t.min()} to {t.max()} ps; a word holds 0 to 2**56 - 1")
    return t.astype(np.uint64) | channel.astype(np.uint64) << np.uint64(TAG_CHANNEL_SHIFT)
