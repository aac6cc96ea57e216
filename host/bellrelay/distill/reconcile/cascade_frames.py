"""A block's bits as the frames of Cascade, in random order, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from . import cascade_shuffle
from .cascade_state import PASSES, SUBSETS, CascadePlan

__all__ = ["FRAME_BITS", "frame_count", "gather_bits", "new_plan", "pack_frames"]

FRAME_BITS = 100_000
"""About so many bits are in a frame, where the block has more than one."""


def frame_count(n: int) -> int:
    """Frames of a block of n bits: each has at least 3/4 and less than 3/2 of `FRAME_BITS`."""
    return max(1, (n + FRAME_BITS // 2) // FRAME_BITS)


def new_plan(seed: bytes, n: int) -> CascadePlan:
    """What both sides derive from a block's seed and length."""
    frames = frame_count(n)
    longest = -(-n // frames)
    words = -(-longest // 64)
    order = np.stack(
        [cascade_shuffle.permutation(seed, f"order of pass {k}", longest) for k in (2, 3)]
    )
    random = cascade_shuffle.expand(seed, "subsets", SUBSETS * 2 * words).view(np.uint64)
    mask = np.ascontiguousarray(random.reshape(SUBSETS, words))
    return CascadePlan(
        order=order,
        place=np.stack([cascade_shuffle.inverse(o) for o in order]),
        mask=mask,
        member=_members(mask, longest),
        lengths=np.array([-(-(n - frame) // frames) for frame in range(frames)], np.int64),
    )


@compiled
def _members(mask: NDArray[np.uint64], length: int) -> NDArray[np.uint16]:
    """The subsets of every place: bit t is bit `place` of mask t."""
    member = np.zeros(64 * mask.shape[1], np.uint16)
    for subset in range(mask.shape[0]):
        for w in range(mask.shape[1]):
            word = mask[subset, w]
            for b in range(64):
                inside = (word >> np.uint64(b)) & np.uint64(1)
                member[64 * w + b] |= np.uint16(inside << np.uint64(subset))
    return member[:length]


def pack_frames(bits: NDArray[np.uint8], seed: bytes, plan: CascadePlan) -> NDArray[np.uint64]:
    """(frames, 3, W) uint64, the words of `CascadeState`; bits: (n,) uint8."""
    frames, longest = plan.lengths.size, plan.member.size
    packed = np.zeros((frames, PASSES, plan.mask.shape[1] * 8), np.uint8)
    for frame in range(frames):
        first = np.zeros(longest, np.uint8)
        own = first[: plan.lengths[frame]]
        own[:] = bits[frame::frames]
        cascade_shuffle.shuffle(own, _frame_words(seed, frame, own.size))
        for which, ordered in enumerate((first, first[plan.order[0]], first[plan.order[1]])):
            line = np.packbits(ordered, bitorder="little")
            packed[frame, which, : line.size] = line
    return packed.view("<u8").astype(np.uint64, copy=False)


def gather_bits(words: NDArray[np.uint64], seed: bytes, plan: CascadePlan) -> NDArray[np.uint8]:
    """(n,) uint8, the block's bits in their own order, from the words of the first pass."""
    frames = plan.lengths.size
    bits = np.empty(int(plan.lengths.sum()), np.uint8)
    for frame in range(frames):
        line = words[frame, 0].astype("<u8", copy=False).view(np.uint8)
        own = np.unpackbits(line, count=int(plan.lengths[frame]), bitorder="little")
        cascade_shuffle.unshuffle(own, _frame_words(seed, frame, own.size))
        bits[frame::frames] = own
    return bits


def _frame_words(seed: bytes, frame: int, n: int) -> NDArray[np.uint32]:
    return cascade_shuffle.expand(seed, f"frame {frame}", n)
