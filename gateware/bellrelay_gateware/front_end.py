"""The contract of a front end: what turns pins into hits, and what it must keep to."""

from __future__ import annotations

from amaranth.lib import data

from bellrelay.wire.geometry import BoardGeometry

__all__ = ["hits_layout"]


def hits_layout(geometry: BoardGeometry) -> data.ArrayLayout:
    """Per channel and clock at most one hit, with its fine code.

    A front end drives this every clock. ``hit`` says that a pulse began in this cell, ``code``
    when: the time in the cell is what the fine table holds for the code. Codes need not be
    ordered or equally wide; with the table as built they are read as ascending and equal. Of
    several pulses in a cell the front end reports the earliest. Every channel has the same
    latency, which is no part of any time.
    """
    return data.ArrayLayout(
        data.StructLayout({"hit": 1, "code": geometry.code_bits}), geometry.n_channels
    )
