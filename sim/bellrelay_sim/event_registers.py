"""The register bank of the event board: values, commands on them, and what `start` checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bellrelay.wire.frames import COMMAND_MAX_WORDS, FrameType, Status
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table
from bellrelay.wire.registers import Access, Control, Register, RegisterMap

from .board import fine_table

__all__ = ["Answer", "EventRegisters"]


_NOTHING = Control(0)


@dataclass(frozen=True)
class Answer:
    """What a command comes to: status, values read, writes to carry out, bits of `control`."""

    status: Status
    values: tuple[int, ...] = ()
    writes: tuple[tuple[int, int], ...] = ()
    control: Control = _NOTHING


class EventRegisters:
    """All words of the register map.

    Parameters
    ----------
    geometry, version, git_revision
        As built into the board.
    """

    def __init__(
        self, geometry: BoardGeometry, version: tuple[int, int, int], git_revision: int
    ) -> None:
        self.geometry = geometry
        self.map = RegisterMap(geometry)
        self._registers: dict[int, tuple[Register, int]] = {}
        self.words: dict[int, int] = {}
        for block in self.map.blocks:
            for register in block.registers:
                for i in range(register.count):
                    address = block.base + register.offset + i
                    self._registers[address] = (register, i)
                    self.words[address] = register.reset & 0xFFFF_FFFF
        self.words.update(self.map.constants(version=version, git_revision=git_revision))
        n = geometry.n_detectors
        for i, code in enumerate(pattern_table("time-bin", tuple(2 * d // n for d in range(n)))):
            self.words[self.map.address("pattern", i)] = code
        linear = [int(v) for v in fine_table(geometry)]
        for i in range(self.map["fine"].count):
            self.words[self.map.address("fine", i)] = linear[i % len(linear)]

    def value(self, name: str, index: int = 0) -> int:
        """Value of a register, with its sign if it has one."""
        register = self.map[name]
        word = self.words[self.map.address(name, index)]
        return word - (1 << 32) if register.signed and word >> 31 else word

    def array(self, name: str) -> list[int]:
        """All elements of a register."""
        return [self.value(name, i) for i in range(self.map[name].count)]

    def set_status(self, name: str, value: int) -> None:
        """Set a register that the host cannot write."""
        self.words[self.map.address(name)] = value & 0xFFFF_FFFF

    def judge(self, frame_type: int, payload: Sequence[int], idle: bool) -> Answer:
        """What a command comes to; nothing is changed yet.

        Parameters
        ----------
        payload
            Words of the READ or WRITE, header and CRC aside; at least two.
        idle
            Whether the board is idle.
        """
        address, count = payload[1] & 0xFFFF, payload[1] >> 16
        writes = frame_type == FrameType.WRITE
        if not 1 <= count <= COMMAND_MAX_WORDS or len(payload) != 2 + (count if writes else 0):
            return Answer(Status.MALFORMED)
        if not writes:
            return self._judge_read(range(address, address + count))
        return self._judge_write(address, payload[2:], idle)

    def _judge_read(self, addresses: range) -> Answer:
        if any(a not in self._registers for a in addresses):
            return Answer(Status.UNKNOWN_ADDRESS)
        return Answer(
            Status.OK,
            tuple(
                0 if self._registers[a][0].access is Access.COMMAND else self.words[a]
                for a in addresses
            ),
        )

    def _judge_write(self, first: int, values: Sequence[int], idle: bool) -> Answer:
        """The first fault in ascending order of the registers decides."""
        control = Control(0)
        writes = []
        for address, value in enumerate(values, first):
            if address not in self._registers:
                return Answer(Status.UNKNOWN_ADDRESS)
            register = self._registers[address][0]
            if register.access in (Access.CONSTANT, Access.STATUS, Access.READOUT):
                return Answer(Status.READ_ONLY)
            if not idle and register.access in (Access.CONFIG, Access.MEMORY):
                return Answer(Status.LOCKED)
            if register.access is Access.MEMORY and value > register.high:
                return Answer(Status.OUT_OF_RANGE)
            if register.access is Access.COMMAND:
                # Without delay lines there is nothing to calibrate.
                if register.name == "control":
                    control |= Control(value & (Control.START | Control.STOP))
            else:
                writes.append((address, value))
        if Control.START in control:
            if not idle:
                return Answer(Status.LOCKED)
            if not self.startable():
                return Answer(Status.OUT_OF_RANGE)
        return Answer(Status.OK, (), tuple(writes), control)

    def carry_out(self, answer: Answer) -> None:
        """Write what a command writes."""
        for address, value in answer.writes:
            self.words[address] = value

    def startable(self) -> bool:
        """Whether all CONFIG registers are within their ranges and fit one another."""
        for block in self.map.blocks:
            for register in block.registers:
                if register.access is not Access.CONFIG:
                    continue
                for i in range(register.count):
                    if not register.low <= self.value(register.name, i) <= register.high:
                        return False
        period = self.value("slot_period_ps")
        windows = []
        for which in ("early", "late"):
            start, end = self.value(f"{which}_start"), self.value(f"{which}_end")
            if not start <= end <= period:
                return False
            if start != end:
                windows.append((start, end))
        windows.sort()
        if len(windows) == 2 and windows[1][0] < windows[0][1]:
            return False
        chunks = self.geometry.n_channels * self.geometry.hist_bins // self.geometry.hist_chunk
        hist_ticks = self.value("hist_ticks")
        if hist_ticks and hist_ticks < chunks + 1:
            return False
        return self.value("phase_ps") < period
