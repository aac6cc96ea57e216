"""What a board was built with: the numbers that shape registers, counters and frames."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

__all__ = ["BoardGeometry"]


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class BoardGeometry:
    """Build-time shape of a board; the gateware's constructor and the host's decoder share it.

    Parameters
    ----------
    n_detectors
        2 or 4. The sync input is channel ``n_detectors``.
    clock_period_ps
        Period of the tagging clock in picoseconds, 1000 to 20000.
    tick_clocks
        Clocks per tick, a power of two; one tick is at most 2**28 ps.
    code_bits
        Width of the fine code; the lookup table has ``2**code_bits`` entries per channel.
    capture_depth
        Raw tags per channel between two flushes.
    announce_depth, announce_depth_short
        Announcements between two flushes: of port 0, of each further port.
    link_words
        Size of the link buffer in 32-bit words.
    hist_bins, hist_chunk
        Bins per channel of the arrival-time histogram, and bins per HISTOGRAM frame.
    align_depth
        Cells that the align stage can hold; deskew lies within
        ``+-(align_depth/2 - 4)`` clock periods.
    board
        Name, at most 16 ASCII characters.

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    n_detectors: int = 4
    clock_period_ps: int = 5000
    tick_clocks: int = 16384
    code_bits: int = 8
    capture_depth: int = 512
    announce_depth: int = 1024
    announce_depth_short: int = 256
    link_words: int = 16384
    hist_bins: int = 1024
    hist_chunk: int = 256
    align_depth: int = 64
    board: str = "twin"

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, allowed: str) -> None:
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")

        need(self.n_detectors in (2, 4), "n_detectors", "2 or 4")
        need(1000 <= self.clock_period_ps <= 20000, "clock_period_ps", "1000 to 20000")
        need(
            _power_of_two(self.tick_clocks)
            and self.tick_clocks >= 1024
            and self.tick_clocks * self.clock_period_ps <= 1 << 28,
            "tick_clocks",
            "a power of two from 1024, at most 2**28 ps long",
        )
        need(1 <= self.code_bits <= 10, "code_bits", "1 to 10")
        for name in ("capture_depth", "announce_depth", "announce_depth_short", "link_words"):
            value = getattr(self, name)
            need(_power_of_two(value) and 8 <= value <= 1 << 16, name, "a power of two, 8 to 65536")
        need(
            _power_of_two(self.hist_bins) and 16 <= self.hist_bins <= 4096,
            "hist_bins",
            "a power of two, 16 to 4096",
        )
        need(
            _power_of_two(self.hist_chunk) and 16 <= self.hist_chunk <= self.hist_bins,
            "hist_chunk",
            "a power of two, 16 to hist_bins",
        )
        need(
            _power_of_two(self.align_depth) and 16 <= self.align_depth <= 256,
            "align_depth",
            "a power of two, 16 to 256",
        )
        need(
            self.board.isascii() and 1 <= len(self.board) <= 16,
            "board",
            "1 to 16 ASCII characters",
        )
        words = (
            self.n_channels * self.capture_depth * 2
            + self.announce_depth
            + (self.n_ports - 1) * self.announce_depth_short
            + self.hist_chunk
            + 1024
        )
        # Everything that one tick can produce is written out within the next one.
        need(words <= self.tick_clocks, "tick_clocks", f"at least {words} for these depths")

    @property
    def n_channels(self) -> int:
        """Detectors plus the sync input."""
        return self.n_detectors + 1

    @property
    def n_cells(self) -> int:
        """Bits of a slot bitmap: early and late per detector."""
        return 2 * self.n_detectors

    @property
    def n_ports(self) -> int:
        """Ports through which announcements leave the classifier."""
        return 1 + self.n_detectors // 2

    @property
    def tick_ps(self) -> int:
        """Length of a tick in picoseconds."""
        return self.tick_clocks * self.clock_period_ps

    @property
    def max_deskew_ps(self) -> int:
        """Largest absolute deskew in picoseconds."""
        return (self.align_depth // 2 - 4) * self.clock_period_ps

    @property
    def max_slots_per_cell(self) -> int:
        """Most slot boundaries within one cell, at the shortest slot (1000 ps) and fastest rate."""
        return (999 + self.clock_period_ps + 8) // 1000

    @property
    def config_hash(self) -> int:
        """CRC-32 of the parameters: tells boards of another build apart."""
        return zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode())
