"""The register map: declared here once, built into the gateware, used by the host.

A register is one 32-bit word. Every block begins with a read-only word that holds its
four-letter id, so that a driver can check that it talks to what it thinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag

from .geometry import BoardGeometry

__all__ = [
    "MODULE_ID",
    "PROTOCOL_VERSION",
    "Access",
    "Block",
    "Calibrate",
    "Control",
    "FineState",
    "Register",
    "RegisterMap",
    "State",
    "pack_id",
    "unpack_id",
]

MODULE_ID = "BREL"
"""Four-letter id of the relay's top level."""

PROTOCOL_VERSION = 1
"""Version of frames and registers; a host refuses a board of another one."""


def pack_id(text: str) -> int:
    """Four ASCII characters as a little-endian word."""
    raw = text.encode("ascii")
    if len(raw) != 4:
        raise ValueError(f"module id {text!r} is not four ASCII characters")
    return int.from_bytes(raw, "little")


def unpack_id(word: int) -> str:
    """Inverse of :func:`pack_id`; unprintable characters become ``?``."""
    return "".join(chr(b) if 32 <= b < 127 else "?" for b in word.to_bytes(4, "little"))


class Access(Enum):
    """Who may write a register, and when."""

    CONSTANT = "constant"
    STATUS = "status"
    CONFIG = "config"
    """Written by the host, only while the board is idle."""
    LIVE = "live"
    """Written by the host at any time; in force from the next tick on."""
    COMMAND = "command"
    """Writing acts; reads as zero."""
    MEMORY = "memory"
    """Word array in block memory; written while idle."""
    READOUT = "readout"
    """Word array in block memory that the board writes."""


class Control(IntFlag):
    """Bits of ``control``."""

    START = 1
    STOP = 2


class Calibrate(IntFlag):
    """Bits of ``fine_command``."""

    TABLES = 1
    """Fine tables of all channels anew, by code density."""
    SKEW = 2
    """Skew of the channels, by a pulse that the board makes."""
    SKEW_AT_PINS = 4
    """The same by a pulse that comes to all inputs at once."""


class FineState(IntFlag):
    """Bits of ``fine_state``; per channel from bits 8 and 16 on."""

    BUSY = 1
    DUE = 2
    SKEW_VALID = 4
    SKEW_FAILED = 8


class State(IntEnum):
    """Values of ``state``."""

    IDLE = 0
    ARMED = 1
    RUNNING = 2
    DRAINING = 3


@dataclass(frozen=True)
class Register:
    """One register, or an array of ``count`` consecutive ones.

    ``low`` and ``high`` are the inclusive range that ``start`` checks for CONFIG registers (as
    signed numbers if ``signed``). ``reset`` is the value after reset, of every element.
    """

    name: str
    offset: int
    access: Access
    doc: str
    count: int = 1
    signed: bool = False
    low: int = 0
    high: int = 0xFFFF_FFFF
    reset: int = 0
    unit: str = ""


@dataclass(frozen=True)
class Block:
    """Registers that belong together, at word address ``base``."""

    id: str
    base: int
    registers: tuple[Register, ...]


class RegisterMap:
    """The register map of a board with the given geometry.

    Attributes
    ----------
    blocks : tuple of Block
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        c, s, cfg, live = Access.CONSTANT, Access.STATUS, Access.CONFIG, Access.LIVE
        n, m = g.n_detectors, g.n_channels
        limit = g.max_deskew_ps
        self.blocks = (
            _block(
                MODULE_ID,
                0x000,
                _R("protocol_version", 1, c, "version of frames and registers"),
                _R("gateware_version", 2, c, "major << 16 | minor << 8 | patch"),
                _R("git_revision", 3, c, "first 32 bits of the commit, 0 if unknown"),
                _R("board_name", 4, c, "16 ASCII bytes, zero padded", count=4),
                _R("config_hash", 8, c, "CRC-32 of the build parameters"),
                _R("n_detectors", 9, c, "detectors"),
                _R("clock_period_ps", 10, c, "tagging clock", unit="ps"),
                _R("tick_clocks", 11, c, "clocks per tick"),
                _R("code_bits", 12, c, "width of the fine code"),
                _R("capture_depth", 13, c, "raw tags per channel between flushes"),
                _R("announce_depth", 14, c, "announcements between flushes, port 0"),
                _R("announce_depth_short", 15, c, "announcements, each further port"),
                _R("link_words", 16, c, "size of the link buffer", unit="words"),
                _R("hist_bins", 17, c, "histogram bins per channel"),
                _R("hist_chunk", 18, c, "bins per HISTOGRAM frame"),
                _R("align_depth", 19, c, "cells that the align stage holds"),
            ),
            _block(
                "CTRL",
                0x040,
                _R("control", 1, Access.COMMAND, "bit 0 start, bit 1 stop"),
                _R("state", 2, s, "0 idle, 1 armed, 2 running, 3 draining"),
                _R("acquisition", 3, cfg, "id of the next acquisition, not 0", low=1, reset=1),
                _R("start_utc_lo", 4, cfg, "start in UTC, low word", unit="ns"),
                _R("start_utc_hi", 5, cfg, "start in UTC, high word", unit="ns"),
                _R(
                    "heartbeat_ticks",
                    6,
                    cfg,
                    "ticks between heartbeats",
                    low=1,
                    high=max(1, 100_000_000_000 // g.tick_ps),
                    reset=max(1, 50_000_000_000 // g.tick_ps),
                    unit="ticks",
                ),
                _R(
                    "flush_ticks",
                    7,
                    cfg,
                    "longest wait of a record on the board",
                    low=1,
                    high=max(1, 100_000_000_000 // g.tick_ps),
                    reset=max(1, 10_000_000_000 // g.tick_ps),
                    unit="ticks",
                ),
                _R("stream_mask", 8, live, "channels whose raw tags are streamed"),
                _R(
                    "hist_ticks",
                    9,
                    cfg,
                    "ticks per histogram period, 0 off; otherwise at least "
                    "n_channels * hist_bins / hist_chunk + 1",
                    # a bin counts at most one tag per clock, so 32 bits cannot wrap
                    high=(1 << 32) // g.tick_clocks - 1,
                    unit="ticks",
                ),
                _R("hist_shift", 10, cfg, "bin width is 2**hist_shift ps", high=20, reset=4),
                _R("announce_not_live", 11, cfg, "1: announce slots that are not live", high=1),
                _R("loss_quiet_ticks", 12, cfg, "ticks that end a loss", low=1, high=255, reset=8),
                _R("temperature", 13, s, "die temperature", signed=True, unit="mdegC"),
                _R(
                    "pattern_source",
                    14,
                    cfg,
                    "0 pins; 1 self-test pattern instead; 2 pins, the pattern at the loop-back",
                    high=2,
                ),
            ),
            _block(
                "SLOT",
                0x060,
                _R(
                    "slot_period_ps",
                    1,
                    cfg,
                    "slot period",
                    low=1000,
                    high=(1 << 24) - 1,
                    reset=10000,
                    unit="ps",
                ),
                _R("phase_ps", 2, cfg, "reference time of cell 0", high=(1 << 24) - 1, unit="ps"),
                _R("rate_lo", 3, cfg, "rate, bits 31..0", unit="2**-48 ps per clock"),
                _R(
                    "rate_hi",
                    4,
                    cfg,
                    "rate, sign and bits 49..32",
                    signed=True,
                    low=-(4 << 16),
                    high=(4 << 16) - 1,
                ),
                _R(
                    "trim",
                    5,
                    live,
                    "tracking correction",
                    signed=True,
                    low=-(1 << 31),
                    high=(1 << 31) - 1,
                    unit="2**-32 ps per clock",
                ),
            ),
            _block(
                "GATE",
                0x080,
                _R("early_start", 1, cfg, "window", high=1 << 24, reset=2000, unit="ps"),
                _R("early_end", 2, cfg, "window", high=1 << 24, reset=3000, unit="ps"),
                _R("late_start", 3, cfg, "window", high=1 << 24, reset=7000, unit="ps"),
                _R("late_end", 4, cfg, "window", high=1 << 24, reset=8000, unit="ps"),
                _R(
                    "gate_delay_ps",
                    8,
                    cfg,
                    "detector gate output: start in the slot",
                    count=n,
                    high=(1 << 24) - 1,
                    unit="ps",
                ),
                _R(
                    "gate_width_ps",
                    12,
                    cfg,
                    "detector gate output: width, 0 off",
                    count=n,
                    high=(1 << 24) - 1,
                    unit="ps",
                ),
            ),
            _block(
                "DETS",
                0x0A0,
                _R(
                    "deskew_ps",
                    1,
                    cfg,
                    "delay that is subtracted",
                    count=m,
                    signed=True,
                    low=-limit,
                    high=limit,
                    unit="ps",
                ),
                _R("dead_time_ps", 8, cfg, "dead time", count=n, high=(1 << 31) - 1, unit="ps"),
                _R("dead_extend", 12, cfg, "bit per detector: extending", high=(1 << n) - 1),
                _R(
                    "align_cells",
                    13,
                    cfg,
                    "clocks that align waits: ceil(max(deskew) / clock) + 2",
                    low=2,
                    high=g.align_depth // 2 - 2,
                    reset=4,
                ),
            ),
            _block(
                "PATT",
                0x0C0,
                _R("pattern_entries", 1, c, "entries of the pattern table"),
            ),
            _block(
                "CALI",
                0x0C8,
                _R(
                    "fine_command",
                    1,
                    Access.COMMAND,
                    "bit 0 calibrate all channels; 1 measure skew; 2 the same by a pulse at the "
                    "pins; nothing on a board without delay lines",
                ),
                _R(
                    "fine_permit",
                    2,
                    live,
                    "bit 0: calibrations by schedule or temperature may begin; bit 1: after each "
                    "the skew is measured",
                    high=3,
                ),
                _R(
                    "fine_period",
                    3,
                    live,
                    "from one calibration to the next, 0 off",
                    high=0xFFFF,
                    unit="2**20 clocks",
                ),
                _R(
                    "fine_threshold",
                    4,
                    live,
                    "change of the die temperature that asks for a calibration, 0 off",
                    high=0x7FFF_FFFF,
                    unit="mdegC",
                ),
                _R(
                    "fine_state",
                    5,
                    s,
                    "bits 0 busy, 1 due, 2 skew valid, 3 skew failed; 8.. calibrated and 16.. "
                    "failed per channel",
                ),
                _R("fine_runs", 6, s, "calibrations that have ended"),
                _R(
                    "fine_mdegc",
                    7,
                    s,
                    "die temperature at the start of the last one",
                    signed=True,
                    unit="mdegC",
                ),
                _R(
                    "fine_skew_ps",
                    8,
                    s,
                    "time of a common pulse after channel 0's",
                    count=m,
                    signed=True,
                    unit="ps",
                ),
                _R("fine_blind_lo", 13, s, "clocks off its pin, low word", count=m),
                _R("fine_blind_hi", 18, s, "clocks off its pin, high word", count=m),
            ),
            _block(
                "FINE",
                0x0E0,
                _R("fine_entries", 1, c, "entries of the fine table per channel"),
                _R("fine_dropped_lo", 2, s, "second hits of a clock, low word", count=m),
                _R("fine_dropped_hi", 7, s, "second hits of a clock, high word", count=m),
            ),
            Block(
                "",
                0x1000,
                (
                    _R(
                        "pattern",
                        0,
                        Access.MEMORY,
                        "class of bitmap | multi << 2N",
                        count=1 << (g.n_cells + 1),
                        high=8,
                    ),
                ),
            ),
            Block(
                "",
                0x2000,
                (
                    _R(
                        "fine",
                        0,
                        Access.MEMORY,
                        "time of a fine code in its clock period; channel-major",
                        count=m << g.code_bits,
                        high=g.clock_period_ps - 1,
                        unit="ps",
                    ),
                ),
            ),
            Block(
                "",
                0x4000,
                (
                    _R(
                        "fine_counts",
                        0,
                        Access.READOUT,
                        "code density of the last calibration; channel-major",
                        count=m << (g.code_bits - 1),
                    ),
                ),
            ),
        )
        self._by_name = {r.name: (b, r) for b in self.blocks for r in b.registers}
        if len(self._by_name) != sum(len(b.registers) for b in self.blocks):
            raise AssertionError("register names are not unique")

    def __getitem__(self, name: str) -> Register:
        """Register of this name; KeyError if there is none."""
        return self._by_name[name][1]

    def address(self, name: str, index: int = 0) -> int:
        """Word address of element ``index``.

        Raises
        ------
        KeyError
            No register of that name.
        IndexError
            The register has fewer elements.
        """
        block, register = self._by_name[name]
        if not 0 <= index < register.count:
            raise IndexError(f"{name} has {register.count} elements, not {index + 1}")
        return block.base + register.offset + index

    def constants(self, *, version: tuple[int, int, int], git_revision: int) -> dict[int, int]:
        """Values of all CONSTANT words by address, as built into a board or a model of one."""
        g = self.geometry
        name = g.board.encode("ascii").ljust(16, b"\0")
        values: dict[str, list[int]] = {
            "protocol_version": [PROTOCOL_VERSION],
            "gateware_version": [version[0] << 16 | version[1] << 8 | version[2]],
            "git_revision": [git_revision & 0xFFFF_FFFF],
            "board_name": [int.from_bytes(name[i : i + 4], "little") for i in range(0, 16, 4)],
            "config_hash": [g.config_hash],
            "pattern_entries": [1 << (g.n_cells + 1)],
            "fine_entries": [1 << g.code_bits],
        }
        out: dict[int, int] = {}
        for block in self.blocks:
            for register in block.registers:
                if register.access is not Access.CONSTANT:
                    continue
                if register.offset == 0:
                    words = [pack_id(block.id)]
                elif register.name in values:
                    words = values[register.name]
                else:
                    words = [getattr(g, register.name)]
                for i, word in enumerate(words):
                    out[block.base + register.offset + i] = word
        return out


_R = Register


def _block(block_id: str, base: int, *registers: Register) -> Block:
    first = Register(f"{block_id.lower()}_id", 0, Access.CONSTANT, "four-letter id of this block")
    return Block(block_id, base, (first, *registers))
