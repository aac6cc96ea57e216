"""What every reconciliation engine is: one object per side and block, messages in, messages out.

An engine opens no socket and reads no clock. Alice's object and Bob's hold a block of sifted bits
each; the caller carries messages between them, in order and authenticated, until both are done::

    message = alice.begin() or bob.begin()        # exactly one of the two speaks first
    while message is not None:
        message = other.receive(message)

The call that completes an engine may return a message: the peer still needs it.

Only Bob's bits change. A block is cut into frames that succeed or fail by themselves; which of them
failed is public, and the same on both sides. An engine that finds no fault proves nothing: the
block is equal only once `bellrelay.distill.verify` has said so.

Leakage. `disclosed_bits` counts the bits about *Alice's* string that the messages contained, and is
computed from the transcript alone, so that both sides hold the same number. Bob's messages are
functions of those and of the error pattern W = A xor B. They are free of charge where the bound on
Eve's ignorance holds with W given to Eve: it does for phase-error bounds on single-photon pairs, as
Z_A Z_B commutes with the X_A X_B whose errors are bounded (H.-K. Lo, New J. Phys. 5, 36 (2003)). It
does not for bits that are secret only because Alice sent a vacuum: W and Bob's bit give hers away.
So where an engine reveals W, as Cascade does (`reveals_error_pattern`), the entropy that the key's
length starts from must not contain vacuum events, or Bob's messages must be counted too (D. Tupkary
and N. Luetkenhaus, Phys. Rev. Applied 20, 064040 (2023), arXiv:2307.00576).
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReconcileError", "Reconciler", "Role", "exchange", "reveals_error_pattern"]


class Role(Enum):
    """Whose bits an engine holds."""

    ALICE = "alice"
    BOB = "bob"


class ReconcileError(Exception):
    """A message that the protocol does not allow here; the block must be aborted.

    The text never holds bits of a key or of a message.
    """


@runtime_checkable
class Reconciler(Protocol):
    """One side of the reconciliation of one block."""

    @property
    def done(self) -> bool:
        """Nothing more is to be sent or received; what follows is final."""
        ...

    @property
    def disclosed_bits(self) -> int:
        """Bits about Alice's string in the messages so far; frames that failed included.

        From the transcript alone: the same number on both sides once both are done.
        """
        ...

    @property
    def frame_lengths(self) -> NDArray[np.int64]:
        """(frames,) int64, bits in each frame; the sum is the block's length."""
        ...

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(frames,) bool, frames that the engine knows to be uncorrected; the same on both sides.

        Their bits count as disclosed and are no key: see `kept`.
        """
        ...

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n,) bool, bits of the block that lie in frames that did not fail."""
        ...

    @property
    def bits(self) -> NDArray[np.uint8]:
        """(n,) uint8, the block in its own order: Bob's corrected bits, Alice's own."""
        ...

    @property
    def error_rate(self) -> float:
        """Bits corrected per bit, over frames that did not fail; NaN where this side cannot know.

        Bob always knows. Alice knows where the transcript says it (Cascade).
        """
        ...

    def begin(self) -> bytes | None:
        """The first message for the peer; None on the side that waits for it.

        Raises ReconcileError if it was called before.
        """
        ...

    def receive(self, message: bytes) -> bytes | None:
        """Take the peer's message, return the next one for the peer, or None if there is none.

        Raises ReconcileError on a message that is malformed, unexpected or too late; the engine is
        then of no further use.
        """
        ...


def reveals_error_pattern(engine: Reconciler) -> bool:
    """Whether Bob's messages tell Eve more of A xor B than `disclosed_bits` counts.

    True unless the engine says otherwise, with an attribute of this name. No bit may then be taken
    for secret that the pattern and Bob's bit determine; that is, none of Alice's vacuum events.
    """
    return bool(getattr(engine, "reveals_error_pattern", True))


def exchange(alice: Reconciler, bob: Reconciler) -> int:
    """Carry messages between two engines in this process until neither has more to say.

    Returns
    -------
    Number of messages.

    Raises
    ------
    ReconcileError
        Both or neither spoke first, or an engine refused a message.
    """
    first, second = alice.begin(), bob.begin()
    if (first is None) == (second is None):
        raise ReconcileError("one side must speak first, the other wait")
    message, sender, receiver = (first, alice, bob) if first is not None else (second, bob, alice)
    count = 0
    while message is not None:
        count += 1
        message = receiver.receive(message)
        sender, receiver = receiver, sender
    return count
