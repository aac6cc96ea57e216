"""Register access over a link: names in, checked values out.

The client owns no port. It is handed a :class:`Transport`, which writes bytes and hands over the
RESPONSE frames that the reader of the link finds among the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .frames import COMMAND_MAX_WORDS, FrameType, Status, encode_frame
from .geometry import BoardGeometry
from .payloads import Command, Response
from .registers import (
    MODULE_ID,
    PROTOCOL_VERSION,
    Access,
    Control,
    Register,
    RegisterMap,
    pack_id,
    unpack_id,
)

__all__ = [
    "AccessError",
    "BoardVersionMismatch",
    "CommandRefused",
    "ForeignBoard",
    "Identity",
    "NoAnswer",
    "RegisterClient",
    "RegisterValueError",
    "Transport",
    "identify",
]


class AccessError(Exception):
    """A register could not be read or written."""


class NoAnswer(AccessError):
    """Nothing that answers commands is on the link."""


class ForeignBoard(AccessError):
    """What answers is not a relay."""


class BoardVersionMismatch(AccessError):
    """A relay that speaks another version, or says things of itself that do not fit together."""


class RegisterValueError(ValueError):
    """A value outside of its register's range: found before anything was sent."""


class CommandRefused(AccessError):
    """The board refused a command; ``status`` says why."""

    def __init__(self, what: str, status: Status) -> None:
        super().__init__(f"{what}: the board answers {status.name.lower()}")
        self.status = status


class Transport(Protocol):
    """One link, as the client needs it."""

    def write(self, data: bytes) -> None:
        """Send bytes; OSError if the link is gone."""
        ...

    def response(self, timeout_s: float) -> Response | None:
        """The next RESPONSE that has come or comes within the time, else None."""
        ...


@dataclass(frozen=True)
class Identity:
    """What a board says of itself."""

    geometry: BoardGeometry
    gateware_version: tuple[int, int, int]
    git_revision: int
    config_hash: int

    @property
    def version_text(self) -> str:
        """For example ``0.1.0``."""
        return ".".join(map(str, self.gateware_version))


class _Link:
    """Commands and their answers, by number of word."""

    def __init__(self, transport: Transport, timeout_s: float, attempts: int) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._attempts = attempts
        # Not the tag that the client before us used, whose answer may still be on its way.
        self._tag = int.from_bytes(os.urandom(4), "little")
        self._sequence = 0

    def _ask(self, kind: FrameType, address: int, count: int, values: Sequence[int]) -> Response:
        # One tag for all attempts: a late answer to the first is an answer, and commands have the
        # same effect once or twice.
        self._tag = (self._tag + 1) & 0xFFFF_FFFF
        command = Command(self._tag, address, count, tuple(values))
        for _ in range(self._attempts):
            self._transport.write(encode_frame(kind, self._sequence, 0, command.encode()))
            self._sequence += 1
            while (answer := self._transport.response(self._timeout_s)) is not None:
                if answer.tag == self._tag and answer.command == kind:
                    return answer
        raise NoAnswer(f"no answer to {self._attempts} commands within {self._timeout_s:g} s each")

    def read(self, what: str, address: int, count: int) -> tuple[int, ...]:
        out: list[int] = []
        while len(out) < count:
            n = min(COMMAND_MAX_WORDS, count - len(out))
            answer = self._ask(FrameType.READ, address + len(out), n, ())
            if answer.status is not Status.OK:
                raise CommandRefused(f"reading {what}", answer.status)
            if len(answer.values) != n:
                raise AccessError(f"reading {what}: {len(answer.values)} words instead of {n}")
            out += answer.values
        return tuple(out)

    def write(self, what: str, address: int, words: Sequence[int]) -> None:
        for first in range(0, len(words), COMMAND_MAX_WORDS):
            part = words[first : first + COMMAND_MAX_WORDS]
            answer = self._ask(FrameType.WRITE, address + first, len(part), part)
            if answer.status is not Status.OK:
                raise CommandRefused(f"writing {what}", answer.status)


def identify(transport: Transport, timeout_s: float = 1.0, attempts: int = 3) -> Identity:
    """Read who is there, before anything else is believed.

    Raises
    ------
    NoAnswer
        Nothing answers.
    ForeignBoard
        What answers has another module id.
    BoardVersionMismatch
        Another protocol version; or geometry, block ids or hash contradict each other.
    OSError
        The link is gone.
    """
    link = _Link(transport, timeout_s, attempts)
    # Id and version stand at addresses that no version moves.
    try:
        module, version = link.read("the module id", 0, 2)
    except CommandRefused as refused:
        raise ForeignBoard(f"no module id at address 0: {refused}") from refused
    if module != pack_id(MODULE_ID):
        raise ForeignBoard(f"module id is {unpack_id(module)!r}, a relay's is {MODULE_ID!r}")
    if version != PROTOCOL_VERSION:
        raise BoardVersionMismatch(
            f"the board speaks protocol version {version}, this host {PROTOCOL_VERSION}"
        )
    reference = RegisterMap(BoardGeometry())
    block = reference.blocks[0]
    length = max(r.offset + r.count for r in block.registers)
    words = link.read("the identity", block.base, length)
    at = {r.name: words[r.offset : r.offset + r.count] for r in block.registers}
    name = b"".join(w.to_bytes(4, "little") for w in at["board_name"]).rstrip(b"\0")
    try:
        geometry = BoardGeometry(
            board=name.decode("ascii"),
            **{
                key: at[key][0]
                for key in at
                if key in BoardGeometry.__dataclass_fields__ and key != "board"
            },
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise BoardVersionMismatch(
            f"the board's geometry is none of this host's: {error}"
        ) from error
    if geometry.config_hash != at["config_hash"][0]:
        raise BoardVersionMismatch(
            f"the board's configuration hash is {at['config_hash'][0]:08x}, its parameters give "
            f"{geometry.config_hash:08x}: it was built from another declaration"
        )
    for other in RegisterMap(geometry).blocks[1:]:
        if other.id:
            (word,) = link.read(f"the id of block {other.id}", other.base, 1)
            if word != pack_id(other.id):
                raise BoardVersionMismatch(
                    f"block {other.id!r} at {other.base:#x} calls itself {unpack_id(word)!r}"
                )
    gateware = at["gateware_version"][0]
    return Identity(
        geometry,
        (gateware >> 16, gateware >> 8 & 0xFF, gateware & 0xFF),
        at["git_revision"][0],
        at["config_hash"][0],
    )


class RegisterClient:
    """Registers of one board, by name.

    Parameters
    ----------
    transport
        The link; one command is under way at a time.
    geometry
        Of the board, from :func:`identify`.
    timeout_s, attempts
        How long an answer may take, and how often a command is sent. Commands are idempotent.
    """

    def __init__(
        self,
        transport: Transport,
        geometry: BoardGeometry,
        timeout_s: float = 1.0,
        attempts: int = 3,
    ) -> None:
        self.map = RegisterMap(geometry)
        self._link = _Link(transport, timeout_s, attempts)

    def read(self, name: str) -> tuple[int, ...]:
        """All elements of a register, signed where the register is.

        Raises
        ------
        KeyError
            No such register.
        AccessError
            No answer, or refused.
        """
        register = self.map[name]
        words = self._link.read(name, self.map.address(name), register.count)
        return tuple(_signed(w) if register.signed else w for w in words)

    def write(self, name: str, *values: int) -> None:
        """Write a register, all of its elements.

        Raises
        ------
        KeyError
            No such register.
        RegisterValueError
            Wrong number of values, read-only, or out of range; nothing is sent.
        AccessError
            No answer, or refused.
        """
        words = checked_words(self.map[name], values)
        self._link.write(name, self.map.address(name), words)

    def configure(
        self,
        values: Mapping[str, Sequence[int]],
        progress: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Write many registers: all values are checked before the first is sent, and read back.

        Raises
        ------
        KeyError, RegisterValueError, AccessError
            As :meth:`write`; AccessError also if a register does not hold what was written.
        """
        words = {name: checked_words(self.map[name], v) for name, v in values.items()}
        for name, part in words.items():
            address = self.map.address(name)
            self._link.write(name, address, part)
            if self._link.read(name, address, len(part)) != tuple(part):
                raise AccessError(f"{name} does not hold what was written to it")
            progress(name)

    def start(self) -> None:
        """Arm the acquisition. Raises AccessError."""
        self.write("control", Control.START)

    def stop(self) -> None:
        """End the acquisition with the tick. Raises AccessError."""
        self.write("control", Control.STOP)


def checked_words(register: Register, values: Sequence[int]) -> list[int]:
    """Values of a register as words.

    Raises
    ------
    RegisterValueError
        Naming the register, the value and what is allowed.
    """
    if register.access in (Access.CONSTANT, Access.STATUS, Access.READOUT):
        raise RegisterValueError(f"{register.name} cannot be written")
    if len(values) != register.count:
        raise RegisterValueError(
            f"{register.name} has {register.count} elements, {len(values)} were given"
        )
    for index, value in enumerate(values):
        if not register.low <= value <= register.high:
            element = f"[{index}]" if register.count > 1 else ""
            unit = f" {register.unit}" if register.unit else ""
            raise RegisterValueError(
                f"{register.name}{element} is {value}; "
                f"allowed: {register.low} to {register.high}{unit}"
            )
    return [value & 0xFFFF_FFFF for value in values]


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
