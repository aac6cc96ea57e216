"""Positions of marked bytes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled
from bellrelay.tags.marks import BITS, SPARE, bits_of, list_bits


@compiled
def positions_of(marks: NDArray[np.uint64], shift: int, positions: NDArray[np.int32]) -> int:
    n = np.uint64(0)
    for word in range(marks.size * 8 // BITS):
        n = list_bits(bits_of(marks, word, shift), BITS * word, positions, n)
    return np.int64(n)  # type: ignore[return-value]


@pytest.mark.parametrize("shift", [0, 7])
@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99, 1])
def test_all_marks_are_listed_in_order(share: float, shift: int) -> None:
    """Whatever the other bits of a byte are."""
    rng = np.random.default_rng(3)
    n = 10 * BITS
    marked = rng.random(n) < share
    others = rng.integers(0, 256, n).astype(np.uint8) & ~np.uint8(1 << shift)
    data = (others | marked.astype(np.uint8) << shift).astype(np.uint8)
    positions = np.empty(n + SPARE, dtype=np.int32)
    found = positions_of(data.view(np.uint64), shift, positions)
    assert positions[:found].tolist() == np.flatnonzero(marked).tolist()
