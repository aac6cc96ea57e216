"""Known clicks at known times: what the board's pattern generator replays in a self-test.

One declaration for both sides: the gateware keeps it in memory, the host works out from it what
every stage must give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .geometry import BoardGeometry
from .registers import RegisterMap

__all__ = [
    "PATTERN_SLOT_CELLS",
    "PatternEntry",
    "pattern_clicks",
    "pattern_registers",
    "selftest_pattern",
]

PATTERN_SLOT_CELLS = 8
"""Cells of one slot of the pattern: early is cells 1 and 2, late 5 and 6."""

_EARLY, _EARLY_AGAIN, _BETWEEN, _LATE, _LATE_AGAIN = 1, 2, 3, 5, 6
_NEXT = PATTERN_SLOT_CELLS
_GAP_SLOTS = 2  # from one scene to the next
_FIRST_SLOT = 2


@dataclass(frozen=True)
class PatternEntry:
    """Clicks of all channels in ``mask`` in one cell, with one fine code."""

    cell: int
    mask: int
    code: int


def _scenes(n: int) -> Iterator[dict[int, int]]:
    """One slot each, the last one two: cell within it to the mask of channels."""
    for early in range(n):
        for late in range(n):
            yield {_EARLY: 1 << early, _LATE: 1 << late}
    for d in range(n):
        yield {_EARLY: 1 << d}
        yield {_LATE: 1 << d}
        yield {_BETWEEN: 1 << d}
        # Two clicks in one window: a cell that is hit twice, or a click within the dead time.
        yield {_EARLY: 1 << d, _EARLY_AGAIN: 1 << d, _LATE: 1 << (d + 1) % n}
    yield {_EARLY: 0b11}
    yield {_LATE: 0b11}
    yield {_EARLY: 0b11, _LATE: 0b01}
    yield {0: 1 << n}
    yield {_EARLY: 1 << n | 1, _LATE: 0b10}
    # The dead time of the last detector reaches into the next slot's first window: not live.
    yield {_LATE_AGAIN: 1 << n - 1, _NEXT + _EARLY: 0b01, _NEXT + _LATE: 0b10}


def selftest_pattern(geometry: BoardGeometry) -> tuple[PatternEntry, ...]:
    """The pattern of a board: ascending cells, at most one entry per cell, none in cell 0."""
    steps = 1 << geometry.code_bits
    entries: list[PatternEntry] = []
    for number, scene in enumerate(_scenes(geometry.n_detectors)):
        first = (_FIRST_SLOT + number * _GAP_SLOTS) * PATTERN_SLOT_CELLS
        for place, mask in sorted(scene.items()):
            # Codes spread over the cell, no two neighbours alike.
            code = (37 * len(entries) + 11) % steps
            entries.append(PatternEntry(first + place, mask, code))
    return tuple(entries)


def pattern_clicks(geometry: BoardGeometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Times (ps since cell 0, with the fine table as built) and channels, by (time, channel)."""
    clicks = [
        (
            entry.cell * geometry.clock_period_ps
            + (entry.code * geometry.clock_period_ps >> geometry.code_bits),
            channel,
        )
        for entry in selftest_pattern(geometry)
        for channel in range(geometry.n_channels)
        if entry.mask >> channel & 1
    ]
    clicks.sort()
    return tuple(t for t, _ in clicks), tuple(channel for _, channel in clicks)


def pattern_registers(geometry: BoardGeometry) -> dict[str, tuple[int, ...]]:
    """Registers with which the pattern meets every stage; the pattern table is the caller's.

    The last detector has a dead time that swallows a second click in the next cell and, after a
    late click, reaches into the next slot's first window; the others have none, so that there a
    second click makes a cell that is hit twice.
    """
    g = geometry
    p, n = g.clock_period_ps, g.n_detectors
    fine = [code * p >> g.code_bits for code in range(1 << g.code_bits)]
    return {
        "slot_period_ps": (PATTERN_SLOT_CELLS * p,),
        "phase_ps": (0,),
        "rate_lo": (0,),
        "rate_hi": (0,),
        "trim": (0,),
        "early_start": (p,),
        "early_end": (3 * p,),
        "late_start": (5 * p,),
        "late_end": (7 * p,),
        "gate_delay_ps": (0,) * n,
        "gate_width_ps": (0,) * n,
        "deskew_ps": (0,) * g.n_channels,
        "dead_time_ps": (0,) * (n - 1) + (7 * p // 2,),
        "dead_extend": (0,),
        "align_cells": (RegisterMap(g)["align_cells"].low,),
        "announce_not_live": (0,),
        "stream_mask": ((1 << g.n_channels) - 1,),
        "flush_ticks": (1,),
        "heartbeat_ticks": (1,),
        "hist_ticks": (0,),
        "hist_shift": (6,),
        "fine": tuple(fine) * g.n_channels,
    }
