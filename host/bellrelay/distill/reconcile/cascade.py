"""Cascade: parities of blocks are compared, odd blocks are halved down to the error.

G. Brassard and L. Salvail, EUROCRYPT '93; sizes that are powers of two, parities that are inferred
instead of asked, and blocks of earlier searches used again: J. Martinez-Mateo, C. Pacher, M. Peev,
A. Ciurana and V. Martin, Quantum Inf. Comput. 15, 453 (2015), arXiv:1407.3257. There are three
passes and a few random subsets, whose parities find what the passes missed.

A block of n bits is dealt to frames of about `FRAME_BITS`, bit i to frame i mod frames, so that a
drift of the error rate is the same for all. All frames work at once, and a message carries the
questions of all; both sides derive what is asked from what they know, so that it holds parities
alone, one bit each. Each side sends the parities of its own bits: both then know which differ.
A message answers the open questions and also gives the sender's part of the next ones, so every
message is a step forward, and a round trip is two.

`disclosed_bits` counts Alice's parities, of every frame. Bob's are as many, and are functions of
hers and of the error pattern; what that asks of the security proof is said in `engine`.

No frame is handed out before the last is done. The number and the sizes of the messages depend on
seed, expected error rate and error pattern, which Eve is given, and on nothing else.
"""

from __future__ import annotations

import struct
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from .cascade_frames import gather_bits, new_plan, pack_frames
from .cascade_questions import Questions
from .cascade_state import FAILED, new_state
from .engine import ReconcileError, Role

__all__ = ["SEED_BYTES", "Cascade"]

SEED_BYTES = 16
"""Least length of a seed."""

_HEADER = struct.Struct("<I")
_AGREEMENT_BYTES = 16


class Cascade:
    """One side of Cascade over one block; see :class:`~.engine.Reconciler`. Alice speaks first."""

    reveals_error_pattern = True

    def __init__(self, role: Role, bits: NDArray[np.uint8], seed: bytes, error_rate: float) -> None:
        """Take a block of sifted bits.

        Parameters
        ----------
        role
            Whose bits these are; Bob's are corrected.
        bits
            (n,) uint8 of 0 and 1, n from 1 up; copied.
        seed
            Public, the same on both sides, fresh for each block, and unknown to anyone else before
            the bits are fixed; at least `SEED_BYTES`.
        error_rate
            Expected error rate, 0 to 0.5, the same on both sides. If it is wrong more is disclosed,
            or more rounds are needed; errors are corrected all the same.

        Raises
        ------
        ValueError
            An argument is out of range.
        """
        if bits.dtype != np.uint8 or bits.ndim != 1 or not bits.size or int(bits.max()) > 1:
            raise ValueError("bits must be a one-dimensional uint8 array of 0 and 1, not empty")
        if len(seed) < SEED_BYTES:
            raise ValueError(f"a seed has at least {SEED_BYTES} bytes")
        if not 0.0 <= error_rate <= 0.5:
            raise ValueError("error_rate must lie between 0 and 0.5")
        self._role = Role(role)
        self._seed = bytes(seed)
        self._agreement = sha256(struct.pack("<Qd", bits.size, error_rate) + self._seed).digest()[
            :_AGREEMENT_BYTES
        ]
        self._plan = new_plan(self._seed, bits.size)
        self._state = new_state(pack_frames(bits, self._seed, self._plan), self._plan.member.size)
        self._questions = Questions(
            self._plan, self._state, error_rate, bits_change=self._role is Role.BOB
        )
        self._bits: NDArray[np.uint8] | None = bits.copy() if self._role is Role.ALICE else None
        self._begun = False
        self._broken = False
        # This side's parities that the peer has, for questions whose other part is not here yet.
        self._sent: NDArray[np.uint8] | None = None
        self._received_sets = 0
        self._sent_sets = 0

    def __repr__(self) -> str:
        progress = "done" if self.done else f"{self._received_sets} sets received"
        return f"Cascade({self._role.value}, {int(self._plan.lengths.sum())} bits, {progress})"

    @property
    def done(self) -> bool:
        """Nothing more is to be sent or received; what follows is final."""
        return self._questions.finished

    @property
    def disclosed_bits(self) -> int:
        """Parities of Alice's bits that were sent; final and equal on both sides once done."""
        return int(self._state.disclosed.sum())

    @property
    def frame_lengths(self) -> NDArray[np.int64]:
        """(frames,) int64, bits in each frame."""
        return self._plan.lengths.copy()

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(frames,) bool, frames of which every bit was disclosed, or that took too many rounds."""
        return np.asarray(self._state.stage == FAILED)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n,) bool, bits of the block that lie in frames that did not fail."""
        n = int(self._plan.lengths.sum())
        return np.asarray(~self.failed[np.arange(n) % self._plan.lengths.size])

    @property
    def bits(self) -> NDArray[np.uint8]:
        """(n,) uint8, the block in its own order: Bob's corrected bits, Alice's own."""
        if self._bits is None:
            bits = gather_bits(self._state.words, self._seed, self._plan)
            if not self.done:
                return bits
            self._bits = bits
        return self._bits.copy()

    @property
    def error_rate(self) -> float:
        """Bits corrected per bit in frames that did not fail, known to both sides; NaN if none."""
        good = ~self.failed
        n = int(self._plan.lengths[good].sum())
        return int(self._state.corrected[good].sum()) / n if n else float("nan")

    def begin(self) -> bytes | None:
        """Alice's first message; None for Bob. ReconcileError if called before."""
        if self._begun:
            raise ReconcileError("begin was called before")
        self._begun = True
        if self._role is Role.BOB:
            return None
        self._sent = self._questions.ask()
        return self._agreement + self._message([self._sent])

    def receive(self, message: bytes) -> bytes | None:
        """Take the peer's message, return the next one, or None if there is none.

        Raises
        ------
        ReconcileError
            The message is malformed, of another block or step, or contradicts earlier ones; the
            engine is then of no further use.
        """
        if self._broken or self.done:
            raise ReconcileError("no message is expected any more")
        self._broken = True
        reply = self._receive(message)
        self._broken = False
        return reply

    def _receive(self, message: bytes) -> bytes | None:
        if not self._begun:
            raise ReconcileError("a message came before begin was called")
        rest = memoryview(message)
        if self._role is Role.BOB and not self._received_sets:
            if rest[:_AGREEMENT_BYTES] != self._agreement:
                raise ReconcileError("the sides differ in length, error rate or seed")
            rest = rest[_AGREEMENT_BYTES:]
        if len(rest) < _HEADER.size or _HEADER.unpack_from(rest) != (self._received_sets,):
            raise ReconcileError("a message of another step")
        rest = rest[_HEADER.size :]
        # The peer's part of what this side has already sent its own of, then of what follows.
        if self._sent is not None:
            rest = self._learn(self._sent, rest)
            self._sent = None
        reply = []
        if not self.done:
            reply.append(self._questions.ask())
            rest = self._learn(reply[0], rest)
        if len(rest):
            raise ReconcileError("a message is too long")
        if not reply:
            return None
        if not self.done:
            self._sent = self._questions.ask()
            reply.append(self._sent)
        return self._message(reply)

    def _learn(self, own: NDArray[np.uint8], rest: memoryview) -> memoryview:
        size = -(-own.size // 8)
        if len(rest) < size:
            raise ReconcileError("a message is too short")
        theirs = np.unpackbits(np.frombuffer(rest[:size], np.uint8))
        if theirs[own.size :].any():
            raise ReconcileError("a message is not padded with zeros")
        self._received_sets += 1
        self._questions.learn(own ^ theirs[: own.size])
        return rest[size:]

    def _message(self, parities: list[NDArray[np.uint8]]) -> bytes:
        header = _HEADER.pack(self._sent_sets)
        self._sent_sets += len(parities)
        return header + b"".join(np.packbits(p).tobytes() for p in parities)
