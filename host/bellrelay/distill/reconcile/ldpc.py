"""Reconciliation by LDPC syndromes: one message where it suffices, a few more where it does not.

Alice sends syndromes of her frames, as long as the expected error rate wants them. Bob's own
syndromes, added to hers, are those of his error patterns, which he finds by decoding. A frame that
does not decode asks for more parities: rows of its code are cut in two (`ldpc_split`), until it
decodes or nothing is left to cut. That is the blind protocol of J. Martinez-Mateo, D. Elkouss and
V. Martin, Quantum Inf. Comput. 12, 791 (2012), with cuts in the place of punctured bits that are
revealed: an error rate need not be known, for a wrong one costs rounds or bits but no frame.

`Ldpc.disclosed_bits` counts every parity that Alice sent, of frames that failed too, and eight bits
for every verdict of Bob's, though they are functions of the parities and the error pattern: that is
1e-4 of a frame's parities, and makes the count a bound on the whole conversation.
"""

from __future__ import annotations

import struct
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from .engine import ReconcileError, Role
from .ldpc_alice import AliceFrames
from .ldpc_bob import BobFrames
from .ldpc_frames import collect, deal, layout_of

__all__ = ["SEED_BYTES", "Ldpc"]

SEED_BYTES = 16
"""Least length of a seed."""


class Ldpc:
    """One side of LDPC over one block; see :class:`~.engine.Reconciler`. Alice speaks first."""

    reveals_error_pattern = False

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
            Expected error rate, 0 to 0.5. Alice's is taken, Bob sees for himself. If it is too low
            there are more rounds, if it is too high more is disclosed than need be.

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
        self._layout = layout_of(bits.size)
        self._dealt = deal(bits, self._seed, self._layout)
        agreement = sha256(b"ldpc" + struct.pack("<Q", bits.size) + self._seed).digest()[:8]
        self._side = (
            AliceFrames(self._dealt, self._layout, agreement, error_rate)
            if self._role is Role.ALICE
            else BobFrames(self._dealt, self._layout, agreement)
        )
        self._begun = False
        self._broken = False

    def __repr__(self) -> str:
        return (
            f"Ldpc({self._role.value}, {int(self._layout.lengths.sum())} bits, "
            f"{self._layout.lengths.size} frames, done={self.done})"
        )

    @property
    def done(self) -> bool:
        """Nothing more is to be sent or received; what follows is final."""
        ledger = self._side.ledger
        return ledger is not None and not ledger.open

    @property
    def disclosed_bits(self) -> int:
        """Parities of Alice's and verdicts of Bob's; what Bob asked for counts from then on."""
        ledger = self._side.ledger
        return 0 if ledger is None else ledger.disclosed

    @property
    def frame_lengths(self) -> NDArray[np.int64]:
        """(frames,) int64, bits in each frame."""
        return self._layout.lengths.copy()

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(frames,) bool, frames that Bob gave up."""
        ledger = self._side.ledger
        return (
            np.zeros(self._layout.lengths.size, np.bool_)
            if ledger is None
            else (ledger.failed.copy())
        )

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n,) bool, bits of the block that lie in frames that did not fail."""
        good = ~self.failed
        kept = np.empty(int(self._layout.lengths.sum()), np.bool_)
        for frame in range(good.size):
            kept[frame :: good.size] = good[frame]
        return kept

    @property
    def bits(self) -> NDArray[np.uint8]:
        """(n,) uint8, the block in its own order: Bob's corrected bits, Alice's own."""
        return collect(self._dealt, self._seed, self._layout)

    @property
    def error_rate(self) -> float:
        """Bits corrected per bit in frames that did not fail; NaN for Alice, or if all did."""
        good = ~self.failed
        n = int(self._layout.lengths[good].sum())
        if not isinstance(self._side, BobFrames) or not n:
            return float("nan")
        return int(self._side.corrected[good].sum()) / n

    def begin(self) -> bytes | None:
        """Alice's first message; None for Bob. ReconcileError if called before."""
        if self._begun:
            raise ReconcileError("LDPC: begun before")
        self._begun = True
        return self._side.opening() if isinstance(self._side, AliceFrames) else None

    def receive(self, message: bytes) -> bytes | None:
        """Take the peer's message, return the next one for the peer, or None if there is none.

        Raises ReconcileError on a message that is malformed or unexpected; the engine is then of no
        further use.
        """
        if self._broken or self.done or not self._begun:
            raise ReconcileError("LDPC: no message is due")
        try:
            return self._side.answer(message)
        except ReconcileError:
            self._broken = True
            raise
