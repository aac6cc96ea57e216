"""What is asked of the key store, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .cutting import UnitRef
from .key_states import KeyState
from .wiping import wipe

__all__ = [
    "DeliveredKey",
    "FetchRefused",
    "FetchRequest",
    "KeyCounts",
    "KeyInfo",
    "PeerAnswer",
    "Refusal",
    "Reservation",
    "ReservationError",
    "ReserveRequest",
    "Shortage",
]

_MAX_UNITS = 1 << 16


@dataclass(frozen=True)
class ReserveRequest:
    """``count`` keys of ``size_bits`` for a master and its slaves, the pair's own one among them.

    max_age_s : only key that was made within that time.
    """

    pair: str
    master: str
    slaves: tuple[str, ...]
    count: int
    size_bits: int
    max_age_s: float | None = None


class ReservationError(ValueError):
    """The peer's word about a reservation is malformed."""


@dataclass(frozen=True)
class Reservation:
    """A key that is set aside: what the peer must know to set it aside, too. Nothing of its bits.

    side : at which it was reserved. serial : counts the reservations of that KME's store; a later
    word about the same units has a higher one.
    """

    key_id: str
    pair: str
    side: int
    master: str
    slaves: tuple[str, ...]
    size_bits: int
    serial: int
    units: tuple[UnitRef, ...]

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        return {
            "key_id": self.key_id,
            "pair": self.pair,
            "side": self.side,
            "master": self.master,
            "slaves": list(self.slaves),
            "size_bits": self.size_bits,
            "serial": self.serial,
            "units": [list(unit) for unit in self.units],
        }

    @classmethod
    def from_json(cls, value: object) -> Reservation:
        """Of what a peer sent; only the form is checked. ReservationError."""
        try:
            if not isinstance(value, Mapping) or len(value["units"]) > _MAX_UNITS:
                raise TypeError
            return cls(
                _text(value["key_id"]),
                _text(value["pair"]),
                _whole(value["side"]),
                _text(value["master"]),
                tuple(_text(slave) for slave in value["slaves"]),
                _whole(value["size_bits"]),
                _whole(value["serial"]),
                tuple((_text(block), _whole(index)) for block, index in value["units"]),
            )
        except (KeyError, TypeError, ValueError):
            raise ReservationError("not a reservation") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024:
        raise TypeError
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise TypeError
    return value


@dataclass(frozen=True)
class Shortage:
    """There is not enough key for a request. available : units that could be had."""

    pair: str
    available: int


class PeerAnswer(StrEnum):
    """What a KME says about the other's reservation."""

    ADOPTED = "adopted"
    """Its slaves can have the key."""
    RELEASED = "released"
    """It is free here: nobody here has it or will have it."""
    CONSUMED = "consumed"
    """A slave has it already, so it can never be free again."""
    NOT_HERE = "not-here"
    """A block is not here (yet), or is suspended: perhaps later."""
    GONE = "gone"
    """Never: a unit is expired, revoked or used here, or the reservation breaks the rules."""


@dataclass(frozen=True)
class FetchRequest:
    """A slave asks for keys by their names, which ``master`` told it."""

    slave: str
    master: str
    key_ids: tuple[str, ...]


class Refusal(StrEnum):
    """Why a key is not given."""

    NOT_FOUND = "not-found"
    """Unknown, taken already, revoked, expired, or another master's."""
    NOT_NAMED = "not-named"
    """Who asks was not named when the key was reserved."""
    SUSPENDED = "suspended"
    """Until the verdict on an incident."""
    DAMAGED = "damaged"
    """Its sealed bytes are not what was sealed; the key is revoked."""


@dataclass(frozen=True)
class FetchRefused:
    """A request that gets nothing. refusals : by key_id, of those that stand in the way."""

    refusals: Mapping[str, Refusal]


@dataclass(frozen=True)
class DeliveredKey:
    """A key on its way to who asked. key : for the caller to wipe once it was sent."""

    key_id: str
    pair: str
    size_bits: int
    master: str
    key: bytearray = field(repr=False)

    def wipe(self) -> None:
        """Overwrite the key."""
        wipe(self.key)


@dataclass(frozen=True)
class KeyCounts:
    """Units of a pair and side. free : that can be given out now. waiting : free, but the peer has
    not said that it has them. suspended : free, but suspended. oldest_ns, newest_ns : when the
    oldest and the newest of the free ones were made, UTC; None if there is none.
    """

    free: int = 0
    waiting: int = 0
    suspended: int = 0
    reserved: int = 0
    oldest_ns: int | None = None
    newest_ns: int | None = None


@dataclass(frozen=True)
class KeyInfo:
    """What is known of a key: nothing of its bits.

    suspended : whether a mark keeps it from being delivered. taken : who has it, and since when.
    """

    key_id: str
    pair: str
    side: int
    size_bits: int
    state: KeyState
    suspended: bool
    master: str
    slaves: tuple[str, ...]
    reserved_ns: int
    changed_ns: int
    units: tuple[UnitRef, ...]
    taken: Mapping[str, int]
