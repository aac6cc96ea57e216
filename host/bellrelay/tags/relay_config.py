"""The settings of a relay as the array functions take them."""

from __future__ import annotations

from dataclasses import dataclass

from bellrelay.wire.geometry import BoardGeometry

from .gate import Window, check_windows

__all__ = ["RelayConfig"]


@dataclass(frozen=True)
class RelayConfig:
    """What the registers of a board say, in the units of the registers.

    Parameters
    ----------
    geometry
        Number of detectors, clock and tick of the board.
    slot_period_ps, phase_ps, rate
        The slot clock; `rate` signed, unit 2**-48 ps per clock.
    trims
        Trim in force in every tick of the acquisition from 0 on (unit 2**-32 ps per clock); the
        last one stays. Empty is zero.
    early, late
        Gate windows, half open, ps in the slot.
    deskew_ps
        Per channel (detectors, then sync), signed.
    dead_time_ps, extending
        Per detector.
    pattern
        Codes by `bitmap | multi << 2N`, as `bellrelay.wire.outcomes.pattern_table` gives them.
    announce_not_live
        Whether slots that are not live are announced.
    hist_shift
        Bins of the arrival-time histogram are `2**hist_shift` ps wide.
    stream_mask
        Channels whose raw tags are streamed, bit by channel.

    Raises
    ------
    ValueError
        A list of wrong length, or windows that overlap or leave the slot.
    """

    geometry: BoardGeometry
    slot_period_ps: int
    early: Window
    late: Window
    deskew_ps: tuple[int, ...]
    dead_time_ps: tuple[int, ...]
    extending: tuple[bool, ...]
    pattern: tuple[int, ...]
    phase_ps: int = 0
    rate: int = 0
    trims: tuple[int, ...] = ()
    announce_not_live: bool = False
    hist_shift: int = 4
    stream_mask: int = 0

    def __post_init__(self) -> None:
        g = self.geometry
        for name, length in (
            ("deskew_ps", g.n_channels),
            ("dead_time_ps", g.n_detectors),
            ("extending", g.n_detectors),
            ("pattern", 2 << g.n_cells),
        ):
            if len(getattr(self, name)) != length:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, not {length}")
        check_windows(self.early, self.late, self.slot_period_ps)
