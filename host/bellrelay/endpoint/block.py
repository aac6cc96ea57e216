"""A block: a range of slots fixed in advance, its states, and why it may end without key.

What a state promises is on disk before the first message leaves that only this state may send:

==========  ===================================================================================
collecting  nothing is known of the peer's choices, and nothing of ours has left. Once the list
            of announcements is complete, its digest is on disk: no other list may follow.
sifted      both parties' settings are known. All that has left so far follows from the list and
            from what was sent; said again, it is the same.
estimated   the bounds are known, parities may have left: from here on a block that is
            interrupted is given up, as asking again would disclose more.
reconciled  Bob's string is corrected, Alice's hash of hers may have left.
verified    both strings are equal but for epsilon.
amplified   the key is on disk, not to be used: Alice has sent the seed, Bob has said that he is
            ready. Only Alice decides what becomes of it, and only once.
stored      the key may be used. Alice says so first, and says it again until Bob knows.
aborted     there is no key. Where Bob may hold a pending one, Alice says so under a tag.
==========  ===================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = [
    "BlockAborted",
    "BlockId",
    "BlockState",
    "Cause",
    "aborted_by_peer",
    "allowed_steps",
    "may_restart",
]


class BlockState(IntEnum):
    """States in their order; the numbers are those of the message OPEN and of the store."""

    COLLECTING = 0
    SIFTED = 1
    ESTIMATED = 2
    RECONCILED = 3
    VERIFIED = 4
    AMPLIFIED = 5
    STORED = 6
    ABORTED = 7

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (BlockState.STORED, BlockState.ABORTED)

    @property
    def word(self) -> str:
        """How people call it."""
        return self.name.lower()


class Cause(StrEnum):
    """Why a block ends without key."""

    # the relay
    MALFORMED = "malformed-record"
    NOT_INCREASING = "slots-not-increasing"
    DUPLICATE_SLOT = "duplicate-slot"
    TWO_OUTCOMES = "two-outcomes-for-a-slot"
    OUT_OF_RANGE = "slot-out-of-range"
    UNKNOWN_OUTCOME = "unknown-outcome"
    WRONG_ACQUISITION = "wrong-acquisition"
    WRONG_RELAY = "wrong-relay"
    MISSING_RECORDS = "missing-records"
    QUARANTINED = "relay-quarantined"
    # this side alone
    UNLIT = "no-light-directed"
    NOT_COLLECTED = "not-collected"
    SOURCE_RECORD = "source-record-missing"
    RANDOM_HEALTH = "random-numbers-unhealthy"
    INTENSITY = "intensity-not-guaranteed"
    UNMEASURED = "intensity-not-measured-yet"
    POOL_DRY = "authentication-key-short"
    # both together
    LISTS_DIFFER = "announcement-lists-differ"
    PARAMETERS = "parameters-not-agreed"
    LIST_CHANGED = "announcement-list-changed"
    TALLIES_DIFFER = "tallies-differ"
    NO_BOUND = "no-bound"
    NO_KEY = "no-key"
    RECONCILIATION = "reconciliation-failed"
    VERIFICATION = "verification-failed"
    LEDGERS_DIFFER = "ledgers-differ"
    # the channel
    AUTHENTICATION = "authentication-failed"
    PROTOCOL = "protocol-broken"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    REFUSED = "refused-by-alice"
    PEER = "peer-aborted"
    FAULT = "internal-fault"


_ALARMS = frozenset({Cause.AUTHENTICATION, Cause.PROTOCOL, Cause.LISTS_DIFFER, Cause.LIST_CHANGED})


class BlockAborted(Exception):
    """The block ends here. ``cause`` says why, ``detail`` for people and without any secret."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else str(cause))
        self.cause = cause
        self.detail = detail

    @property
    def alarming(self) -> bool:
        """Whether somebody must look: nobody honest causes this."""
        return self.cause in _ALARMS


def aborted_by_peer(word: str) -> BlockAborted:
    """The peer's cause as ours, if it is one of the list: both sides then say the same."""
    try:
        return BlockAborted(Cause(word), "as the peer says")
    except ValueError:
        return BlockAborted(Cause.PEER, word)


@dataclass(frozen=True, order=True)
class BlockId:
    """A block of an acquisition of a relay: slots [index * slots, (index + 1) * slots).

    relay : its number in the list that both endpoints have agreed upon, 0 the primary. Acquisitions
    of two relays have nothing to do with each other; blocks follow each other within a relay only.
    """

    acquisition: int
    index: int
    relay: int = 0

    @property
    def at(self) -> tuple[int, int, int]:
        """As the header of a frame has it."""
        return self.acquisition, self.index, self.relay

    def is_before(self, other: BlockId) -> bool:
        """Whether it is of the same relay, and of an earlier time."""
        return self.relay == other.relay and self < other

    def first(self, slots: int) -> int:
        """First slot, where blocks have ``slots`` slots."""
        return self.index * slots

    def end(self, slots: int) -> int:
        """Slot after the last."""
        return (self.index + 1) * slots

    def __str__(self) -> str:
        text = f"{self.acquisition}/{self.index}"
        return f"{text}@{self.relay}" if self.relay else text


def may_restart(state: BlockState) -> bool:
    """Whether a block that was interrupted here begins again instead of being given up."""
    return state <= BlockState.SIFTED


def allowed_steps(state: BlockState) -> frozenset[BlockState]:
    """States that may follow."""
    if state.final:
        return frozenset()
    steps = {BlockState(state + 1), BlockState.ABORTED}
    if may_restart(state):
        steps.add(BlockState.COLLECTING)
    return frozenset(steps)
