"""Settings of the analysis of recorded tags."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bellrelay.wire.outcomes import Encoding, classify

from .gate import Window, check_windows

__all__ = ["MAX_DETECTORS", "RecordedDetector", "RecordedSettings"]

MAX_DETECTORS = 6
"""More would make the table of patterns (2 bits per detector) outgrow the cache."""

MAX_SLOT_PERIOD_PS = 1 << 40

MAX_DELAY_PS = 1 << 50
"""Dead times and deskews reach up to here, 19 minutes."""


@dataclass(frozen=True)
class RecordedDetector:
    """One detector: name, channel in the file, output port (0 or 1), deskew and dead time in ps."""

    name: str
    channel: int
    port: int = 0
    deskew_ps: int = 0
    dead_time_ps: int = 0
    extending: bool = False


@dataclass(frozen=True)
class RecordedSettings:
    """How recorded tags become outcomes.

    Parameters
    ----------
    detectors
        In cell order.
    slot_period_ps
        T.
    early, late
        Windows in the slot, half open.
    sync_channel
        Channel of the sync tags; None where slots are counted from time 0 (`phase_ps`).
    slots_per_pulse, sync_deskew_ps
        Slots in the frame of a sync tag; delay of the sync channel.
    phase_ps
        Without sync: reference time of t = 0, `0 <= phase_ps < T`.
    encoding
        Which table of patterns.
    reorder_ps
        How far a tag may lie before the latest one seen in the file; one that lies further back is
        dropped and counted (`out_of_order`).

    Raises
    ------
    ValueError
        Naming what is out of range.
    """

    detectors: tuple[RecordedDetector, ...]
    slot_period_ps: int
    early: Window
    late: Window = (0, 0)
    sync_channel: int | None = None
    slots_per_pulse: int = 1
    sync_deskew_ps: int = 0
    phase_ps: int = 0
    encoding: Encoding = "time-bin"
    reorder_ps: int = 1_000_000

    def __post_init__(self) -> None:
        if not 1 <= len(self.detectors) <= MAX_DETECTORS:
            raise ValueError(f"{len(self.detectors)} detectors; allowed: 1 to {MAX_DETECTORS}")
        if not 1 <= self.slot_period_ps <= MAX_SLOT_PERIOD_PS:
            raise ValueError(
                f"slot_period_ps is {self.slot_period_ps}; allowed: 1 to {MAX_SLOT_PERIOD_PS}"
            )
        check_windows(self.early, self.late, self.slot_period_ps)
        if not 0 <= self.phase_ps < self.slot_period_ps:
            raise ValueError(f"phase_ps is {self.phase_ps}; allowed: 0 to T - 1")
        if not 1 <= self.slots_per_pulse <= (1 << 50) // self.slot_period_ps:
            raise ValueError(
                f"slots_per_pulse is {self.slots_per_pulse}; allowed: 1 to 2**50 / slot_period_ps"
            )
        channels = [d.channel for d in self.detectors]
        channels += [] if self.sync_channel is None else [self.sync_channel]
        if len(set(channels)) < len(channels) or any(not 0 <= c <= 255 for c in channels):
            raise ValueError(f"channels are {channels}; allowed: 0 to 255, each once")
        if any(d.port not in (0, 1) for d in self.detectors):
            raise ValueError("port; allowed: 0 or 1")
        if any(not 0 <= d.dead_time_ps <= MAX_DELAY_PS for d in self.detectors):
            raise ValueError(f"dead_time_ps; allowed: 0 to {MAX_DELAY_PS}")
        if any(abs(d) > MAX_DELAY_PS for d in self._deskews):
            raise ValueError(f"deskew_ps; allowed: {-MAX_DELAY_PS} to {MAX_DELAY_PS}")
        if self.reorder_ps < 0:
            raise ValueError(f"reorder_ps is {self.reorder_ps}; allowed: 0 or more")

    @property
    def _deskews(self) -> list[int]:
        return [self.sync_deskew_ps, *(d.deskew_ps for d in self.detectors)]

    @property
    def n_detectors(self) -> int:
        """Number of detectors."""
        return len(self.detectors)

    @cached_property
    def table(self) -> tuple[int, ...]:
        """Class codes by `bitmap | multi << 2N`, not_live aside."""
        n = self.n_detectors
        ports = tuple(d.port for d in self.detectors)
        return tuple(
            int(classify(index & ((1 << 2 * n) - 1), bool(index >> 2 * n), self.encoding, ports))
            for index in range(2 << 2 * n)
        )
