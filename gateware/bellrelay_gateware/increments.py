"""The counters that the stages produce, as increments per clock."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data

from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry

__all__ = ["ALIGNED_COUNTERS", "RAW_COUNTERS", "increments_layout"]

RAW_COUNTERS = ("clicks", "pile_up", "dead_time", "dead_cells")
"""Families (``kind`` of :class:`bellrelay.wire.counters.Counter`) that count by the raw cell."""

ALIGNED_COUNTERS = (
    "before_start",
    "misaligned",
    "outside",
    "early",
    "late",
    "pair",
    "sync",
    "slots",
    "slots_not_live",
    *(f"class_{code}" for code in range(9)),
)
"""Families that count by the aligned cell."""


def increments_layout(geometry: BoardGeometry) -> data.StructLayout:
    """One field per counter of the stages: how much it grows in this clock.

    Fields are named as the counters and stand in their order. A detector adds at most one per
    clock to its own counters; a pair at most two (the open slot and one short slot); a class at
    most one per detector and one for the open slot; slots at most ``max_slots_per_cell``.
    """
    wide = {
        "pair": 2,
        "slots": geometry.max_slots_per_cell.bit_length(),
        "slots_not_live": geometry.max_slots_per_cell.bit_length(),
    }
    per_class = (1 + geometry.n_detectors).bit_length()
    fields = {}
    for counter in counters(geometry):
        if counter.kind in RAW_COUNTERS or counter.kind in ALIGNED_COUNTERS:
            width = per_class if counter.kind.startswith("class_") else wide.get(counter.kind, 1)
            fields[counter.name] = unsigned(width)
    return data.StructLayout(fields)
