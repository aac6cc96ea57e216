"""Payloads of the frames that the event board sends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.frames import (
    OUTCOME_SHIFT,
    TAG_CHANNEL_SHIFT,
    TAG_TIME_MASK,
    Field,
)

__all__ = ["announcements", "fields", "histogram_chunk", "tags", "words64"]


def words64(*values: int) -> list[int]:
    """Two words each, low word first."""
    return [w for v in values for w in (v & 0xFFFF_FFFF, v >> 32 & 0xFFFF_FFFF)]


def announcements(cut_tick: int, slots: NDArray[np.int64], outcomes: NDArray[np.uint8]) -> bytes:
    """Payload of ANNOUNCEMENTS: slots (n,) and outcomes (n,), in increasing slot order.

    The base slot is that of the first record.
    """
    base_slot = int(slots[0])
    records = (slots - base_slot).astype(np.uint32) | (
        outcomes.astype(np.uint32) << np.uint32(OUTCOME_SHIFT)
    )
    head = np.array(words64(cut_tick, base_slot), "<u4")
    return head.tobytes() + records.astype("<u4").tobytes()


def tags(cut_ps: int, channel: int, times: NDArray[np.int64]) -> bytes:
    """Payload of TAGS: times (n,) picoseconds of one channel."""
    head = np.array(words64(cut_ps), "<u4")
    marked = (times & TAG_TIME_MASK) | (channel << TAG_CHANNEL_SHIFT)
    return head.tobytes() + marked.astype("<u8").tobytes()


def histogram_chunk(
    period: int,
    channel: int,
    first_bin: int,
    start_tick: int,
    end_tick: int,
    bins: NDArray[np.int64],
) -> bytes:
    """Payload of HISTOGRAM: bins (hist_chunk,) of one channel."""
    head = [period, channel | first_bin << 16, *words64(start_tick, end_tick)]
    return np.array(head, "<u4").tobytes() + bins.astype("<u4").tobytes()


def fields(layout: Iterable[Field], values: dict[str, int]) -> list[int]:
    """Words of a payload that is described by fields."""
    out: list[int] = []
    for field in layout:
        value = values[field.name]
        out += [value >> 32 * k & 0xFFFF_FFFF for k in range(field.words)]
    return out
