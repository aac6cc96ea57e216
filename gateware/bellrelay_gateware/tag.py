"""Layouts of what travels between the stages."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from bellrelay.wire.geometry import BoardGeometry

__all__ = [
    "delta_width",
    "fine_width",
    "located_layout",
    "marker_layout",
    "moved_layout",
    "step_width",
    "suppressed_layout",
    "tag_layout",
]


def fine_width(geometry: BoardGeometry) -> int:
    """Bits of a time within a cell."""
    return (geometry.clock_period_ps - 1).bit_length()


def step_width(geometry: BoardGeometry) -> int:
    """Bits of the slot clock's advance in one cell, at most 8 ps more than a clock period."""
    return (geometry.clock_period_ps + 8).bit_length()


def delta_width(geometry: BoardGeometry) -> int:
    """Bits of a slot relative to the slot that is open at the cell's start."""
    return geometry.max_slots_per_cell.bit_length()


def marker_layout() -> data.StructLayout:
    """What cell this is: ``start`` cell 0, ``active`` of an acquisition, ``last`` of a tick.

    ``blind``: a channel is off its pin, for calibration; no slot that touches the cell is live.
    """
    return data.StructLayout({"start": 1, "active": 1, "last": 1, "blind": 1})


def tag_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A tag of the cell that the clock implies, ``fine`` picoseconds after the cell's start."""
    return data.StructLayout({"valid": 1, "fine": fine_width(geometry)})


def suppressed_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A tag that the dead time may have marked."""
    return data.StructLayout({"valid": 1, "suppressed": 1, "fine": fine_width(geometry)})


def moved_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A tag after deskew, of the cell ``back`` cells before the one that the clock implies."""
    return data.StructLayout(
        {
            "valid": 1,
            "suppressed": 1,
            "fine": fine_width(geometry),
            "back": signed(geometry.align_depth.bit_length()),
        }
    )


def located_layout(geometry: BoardGeometry) -> data.StructLayout:
    """A tag in slot units: slot relative to the cell's open slot, position in that slot."""
    return data.StructLayout(
        {"valid": 1, "suppressed": 1, "delta": delta_width(geometry), "pos": 24}
    )
