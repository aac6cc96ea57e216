"""The random order of Cascade's bits, expanded from a public seed by both sides alike.

The seed is fresh for each block and becomes public only after the bits are fixed; ChaCha20 expands
it. A frame's bits are first put into a uniformly random order of its own. The second and third pass
order them again by two permutations that the frames of a block share. So, whatever the error
pattern, the places of a frame's errors in the first pass are a uniformly random set, drawn anew for
every frame, and their places in the others follow from it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

__all__ = ["expand", "inverse", "permutation", "shuffle", "unshuffle"]

_Item = TypeVar("_Item", np.uint8, np.int32)


def expand(seed: bytes, label: str, n: int) -> NDArray[np.uint32]:
    """Pseudo-random words of a seed and a label.

    Returns
    -------
    (n,) uint32, little-endian words of the ChaCha20 key stream whose key is the hash of both.
    """
    key = sha256(label.encode() + b"\0" + seed).digest()
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(4 * n)), "<u4").astype(np.uint32, copy=False)


@compiled
def _swap_down(items: NDArray[_Item], random: NDArray[np.uint32]) -> None:
    for i in range(items.size - 1, 0, -1):
        j = np.int64((np.uint64(random[i]) * np.uint64(i + 1)) >> np.uint64(32))
        items[i], items[j] = items[j], items[i]


@compiled
def _swap_up(items: NDArray[_Item], random: NDArray[np.uint32]) -> None:
    for i in range(1, items.size):
        j = np.int64((np.uint64(random[i]) * np.uint64(i + 1)) >> np.uint64(32))
        items[i], items[j] = items[j], items[i]


def shuffle(items: NDArray[_Item], random: NDArray[np.uint32]) -> None:
    """Put items into random order, in place (Fisher and Yates).

    random: (n,) uint32. Item i changes places with one of the first i + 1, each as likely as the
    next to within i / 2^32; nothing but the spread of errors rests on that.
    """
    _swap_down(items, random)


def unshuffle(items: NDArray[_Item], random: NDArray[np.uint32]) -> None:
    """Undo `shuffle` with the same words."""
    _swap_up(items, random)


def permutation(seed: bytes, label: str, n: int) -> NDArray[np.int32]:
    """(n,) int32, a random permutation of 0 ... n - 1."""
    order = np.arange(n, dtype=np.int32)
    shuffle(order, expand(seed, label, n))
    return order


def inverse(order: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n,) int32, where each item of a permutation stands."""
    place = np.empty_like(order)
    place[order] = np.arange(order.size, dtype=np.int32)
    return place
