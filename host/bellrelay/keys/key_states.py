"""What may become of units and keys."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["Held", "KeyState", "UnitState"]


class UnitState(IntEnum):
    """A unit is in exactly one of these; from CONSUMED on its sealed bytes are gone."""

    FREE = 0
    RESERVED = 1
    """Part of a key that lives: see KeyState."""
    CONSUMED = 2
    REVOKED = 3
    EXPIRED = 4

    @property
    def final(self) -> bool:
        """Whether nothing follows, and nothing is left of it."""
        return self >= UnitState.CONSUMED


class KeyState(IntEnum):
    """States of a key at one KME.

    RESERVED: its master does not have it yet (where it was reserved), or none of its slaves (at the
    peer). DELIVERED: somebody here has it, and somebody here is still owed it. CONSUMED: nobody
    here is owed it any more. The last three have lost their bytes.
    """

    RESERVED = 1
    DELIVERED = 2
    CONSUMED = 3
    REVOKED = 4
    EXPIRED = 5

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self >= KeyState.CONSUMED

    @property
    def word(self) -> str:
        """How people call it."""
        return self.name.lower()


class Held(IntFlag):
    """Marks beside a unit's state that keep it from being given out."""

    NOT_AT_PEER = 1
    """The peer has not said that it has the block, too."""
    SUSPENDED = 2
    """By an operator, until a verdict."""
