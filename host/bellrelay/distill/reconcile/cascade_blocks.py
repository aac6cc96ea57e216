"""Cascade's first questions: parities of the blocks of each pass and of random subsets.

Every loop goes through the frames in order and through a frame from its first place to its last, on
both sides alike, so that a message needs to name no block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from .cascade_parity import bit, interval_parity, subset_parity, toggle
from .cascade_state import CascadeState

__all__ = [
    "ask_blocks",
    "ask_halves",
    "ask_subsets",
    "asked_per_frame",
    "learn_blocks",
    "learn_halves",
    "learn_subsets",
]


@compiled
def asked_per_frame(length: int, level: int, cut: int, infer_last: bool) -> int:
    """Questions about the blocks of a pass in each frame; arguments as of `ask_blocks`."""
    blocks = (cut >> (level + 1)) + ((length - cut + (1 << level) - 1) >> level)
    return blocks - 1 if infer_last else blocks


@compiled
def ask_blocks(
    words: NDArray[np.uint64], which: int, length: int, level: int, cut: int
) -> NDArray[np.uint8]:
    """Parities of one pass's blocks, of all frames.

    Of a later pass than the first the last block is not asked: the parity of the whole frame is
    known. which: the pass. level, cut: see `cascade_plan.Blocks`.
    """
    asked = asked_per_frame(length, level, cut, which > 0)
    out = np.empty(words.shape[0] * asked, np.uint8)
    k = 0
    for frame in range(words.shape[0]):
        start = 0
        for _ in range(asked):
            now = level + 1 if start < cut else level
            out[k] = interval_parity(words[frame, which], start, now)
            start += 1 << now
            k += 1
    return out


@compiled
def learn_blocks(
    state: CascadeState, which: int, length: int, level: int, cut: int, differs: NDArray[np.uint8]
) -> None:
    """Make the blocks of a pass its nodes; differs: (questions,) whether the two parities did."""
    asked = asked_per_frame(length, level, cut, which > 0)
    state.top[which] = level + 1 if cut > 0 else level
    k = 0
    for frame in range(state.words.shape[0]):
        odd = state.odd[frame, which]
        count = 0
        start = 0
        for _ in range(asked):
            now = level + 1 if start < cut else level
            state.level[frame, which, start] = now
            if differs[k] != 0:
                toggle(odd, start)
                count += 1
            start += 1 << now
            k += 1
        if which > 0:
            state.level[frame, which, start] = level + 1 if start < cut else level
            if (state.odd_count[frame, 0] + count) & 1:
                toggle(odd, start)
                count += 1
        state.odd_count[frame, which] = count
        state.disclosed[frame] += asked


@compiled
def ask_halves(words: NDArray[np.uint64], length: int, level: int) -> NDArray[np.uint8]:
    """Parities of the left halves of those first-pass blocks, of this level, that have two."""
    half = 1 << (level - 1)
    asked = (length + half - 1) >> level
    out = np.empty(words.shape[0] * asked, np.uint8)
    k = 0
    for frame in range(words.shape[0]):
        for block in range(asked):
            out[k] = interval_parity(words[frame, 0], block << level, level - 1)
            k += 1
    return out


@compiled
def learn_halves(state: CascadeState, length: int, level: int, differs: NDArray[np.uint8]) -> None:
    """Split every block of the first pass, none of which has been searched yet."""
    half = 1 << (level - 1)
    asked = (length + half - 1) >> level
    state.top[0] = level - 1
    k = 0
    for frame in range(state.words.shape[0]):
        odd = state.odd[frame, 0]
        for left in range(0, length, 1 << level):
            right = left + half
            state.level[frame, 0, left] = level - 1
            if right >= length:
                continue
            state.level[frame, 0, right] = level - 1
            left_odd = differs[k] != 0
            block_odd = bit(odd, left) != 0
            if left_odd != block_odd:
                toggle(odd, left)
                toggle(odd, right)
                if left_odd:
                    # Both halves are odd, the block was even.
                    state.odd_count[frame, 0] += 2
            k += 1
        state.disclosed[frame] += asked


@compiled
def ask_subsets(
    words: NDArray[np.uint64], mask: NDArray[np.uint64], length: int
) -> NDArray[np.uint8]:
    """Parities of the random subsets, of all frames; `mask` as in `CascadePlan`."""
    covering = 0
    while (1 << covering) < length:
        covering += 1
    out = np.empty(words.shape[0] * mask.shape[0], np.uint8)
    k = 0
    for frame in range(words.shape[0]):
        for subset in range(mask.shape[0]):
            out[k] = subset_parity(words[frame, 0], mask[subset], 0, covering)
            k += 1
    return out


@compiled
def learn_subsets(state: CascadeState, subsets: int, differs: NDArray[np.uint8]) -> None:
    """Note which subsets hold an odd number of errors."""
    k = 0
    for frame in range(state.words.shape[0]):
        for subset in range(subsets):
            if differs[k] != 0:
                state.subset_odd[frame] ^= np.uint64(1) << np.uint64(subset)
            k += 1
        state.disclosed[frame] += subsets
