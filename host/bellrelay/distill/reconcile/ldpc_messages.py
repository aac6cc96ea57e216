"""What Alice and Bob say to each other about LDPC frames, in bytes.

1  opening   Alice: sizes of the code, its fingerprint, the parities of every frame
2  verdicts  Bob: one byte for every frame that is still open
3  cuts      Alice: the parities that frames asked for
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .engine import ReconcileError

__all__ = [
    "CORRECTED",
    "GIVEN_UP",
    "MOST_ASKED",
    "Opening",
    "pack_cuts",
    "pack_verdicts",
    "parse_cuts",
    "parse_verdicts",
]

_OPENING, _VERDICTS, _CUTS = 1, 2, 3
_OPENING_HEAD = struct.Struct("<BHHHH8s8s")
_HEAD = struct.Struct("<BB")

CORRECTED = 0
"""Verdict: the frame is corrected."""

GIVEN_UP = 255
"""Verdict: the frame is lost."""

MOST_ASKED = 254
"""Verdicts from 1 to this one ask for so many cuts."""


@dataclass(frozen=True, eq=False)
class Opening:
    """Alice's first message.

    columns, rows, lift: of the code, `ldpc_code.construct`. cuts: made in it already. fingerprint:
    8 bytes, of the code. agreement: 8 bytes, of what both sides must know alike. parities: (frames,
    rows + cuts, lift) uint8: of every row, and of the left part of every cut.
    """

    columns: int
    rows: int
    lift: int
    cuts: int
    fingerprint: bytes
    agreement: bytes
    parities: NDArray[np.uint8] = field(repr=False)

    def encode(self) -> bytes:
        """The message."""
        head = _OPENING_HEAD.pack(
            _OPENING,
            self.columns,
            self.rows,
            self.lift,
            self.cuts,
            self.fingerprint,
            self.agreement,
        )
        return head + np.packbits(self.parities).tobytes()

    @classmethod
    def parse(cls, message: bytes, frames: int, columns: int, lift: int) -> Opening:
        """Read a message about a block whose frames have these sizes.

        Raises
        ------
        ReconcileError
            It is none, or about another block.
        """
        if len(message) < _OPENING_HEAD.size or message[0] != _OPENING:
            raise ReconcileError("LDPC: not an opening message")
        _, *sizes, fingerprint, agreement = _OPENING_HEAD.unpack_from(message)
        said_columns, rows, said_lift, cuts = sizes
        if (said_columns, said_lift) != (columns, lift):
            raise ReconcileError("LDPC: frames of another size")
        if not 3 <= rows < columns or cuts > 3 * rows:
            raise ReconcileError("LDPC: sizes of no code")
        parities = _unpack(message[_OPENING_HEAD.size :], frames * (rows + cuts), lift)
        return cls(
            columns,
            rows,
            lift,
            cuts,
            fingerprint,
            agreement,
            parities.reshape(frames, rows + cuts, lift),
        )


def pack_verdicts(attempt: int, verdicts: list[int]) -> bytes:
    """Bob's verdicts on the open frames after an attempt, counted from 0."""
    return _HEAD.pack(_VERDICTS, attempt) + bytes(verdicts)


def parse_verdicts(message: bytes, attempt: int, frames: int) -> list[int]:
    """Verdicts on so many open frames; ReconcileError if the message is none of that attempt."""
    return list(_body(message, _VERDICTS, attempt, frames))


def pack_cuts(attempt: int, parities: NDArray[np.uint8]) -> bytes:
    """Alice's parities for the next attempt; (cuts of all frames, lift) uint8."""
    return _HEAD.pack(_CUTS, attempt) + np.packbits(parities).tobytes()


def parse_cuts(message: bytes, attempt: int, cuts: int, lift: int) -> NDArray[np.uint8]:
    """(cuts, lift) uint8; ReconcileError if the message is not for that attempt."""
    return _unpack(_body(message, _CUTS, attempt, cuts * lift // 8), cuts, lift)


def _body(message: bytes, kind: int, attempt: int, length: int) -> bytes:
    if len(message) != _HEAD.size + length or message[: _HEAD.size] != _HEAD.pack(kind, attempt):
        raise ReconcileError("LDPC: a message of another kind, attempt or length than is due")
    return message[_HEAD.size :]


def _unpack(body: bytes, rows: int, lift: int) -> NDArray[np.uint8]:
    if len(body) * 8 != rows * lift:
        raise ReconcileError("LDPC: a message of another length than it says")
    return np.unpackbits(np.frombuffer(body, np.uint8)).reshape(rows, lift)
