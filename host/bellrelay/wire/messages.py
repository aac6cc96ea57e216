"""Messages between the daemon and who consumes its announcements; the log's records as well.

They travel in the same frames as those of the board, over a byte stream. A consumer sends one
SUBSCRIBE; the daemon answers WELCOME or REFUSED, then sends ANNOUNCED and EVENT in the order of
their sequence, and a POSITION now and then so that silence can be told from a broken line. The
header's sequence counts the frames of the connection.

Sequence numbers count records, from 0, over the whole life of a relay's log: every announcement
has one, and so has every event, so that a number that is missing is a record that is missing.

- SUBSCRIBE payload: from (1 word: :class:`From`), acquisition (1), number (2: sequence or slot).
- ANNOUNCED payload: sequence of the first (2 words), base slot (2), then one word per record as
  in ANNOUNCEMENTS. The acquisition is in the header.
- EVENT payload: sequence (2 words), then JSON in UTF-8, padded with spaces to whole words.
- POSITION payload: the sequence that the next record will have (2 words).
- WELCOME, REFUSED payloads: JSON in UTF-8, padded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .payloads import Announcements, PayloadError

__all__ = [
    "Announced",
    "Event",
    "From",
    "Position",
    "Refused",
    "Subscribe",
    "Welcome",
]


class From(IntEnum):
    """Where a subscription begins."""

    SEQUENCE = 0
    SLOT = 1
    """The first announcement of the acquisition at or after the slot, or of a later acquisition."""
    LIVE = 2
    """What is announced from now on."""


def _json_bytes(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, separators=(",", ":"), sort_keys=True).encode()
    return text + b" " * (-len(text) % 4)


def _json_object(payload: bytes, what: str) -> dict[str, Any]:
    try:
        values = json.loads(payload)
    except ValueError as error:
        raise PayloadError(f"{what}: no JSON: {error}") from None
    if not isinstance(values, dict):
        raise PayloadError(f"{what}: no JSON object")
    return values


@dataclass(frozen=True, eq=False)
class Announced:
    """Consecutive announcements of one acquisition.

    ``sequence`` is that of the first. slot : (n,) uint64, strictly increasing.
    outcome : (n,) uint8, see :class:`~bellrelay.wire.outcomes.Outcome`.
    """

    sequence: int
    acquisition: int
    slot: NDArray[np.uint64]
    outcome: NDArray[np.uint8]

    @classmethod
    def parse(cls, payload: bytes, acquisition: int) -> Announced:
        """Raises PayloadError: not whole records, unknown outcome, slots not increasing."""
        body = Announcements.parse(payload)
        return cls(body.cut_tick, acquisition, body.slot, body.outcome)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`. ValueError: slots do not increase, or span 2**28 or more."""
        return Announcements(self.sequence, self.slot, self.outcome).encode()

    def from_sequence(self, sequence: int) -> Announced:
        """The part from this sequence on."""
        skip = max(0, sequence - self.sequence)
        return Announced(
            self.sequence + skip, self.acquisition, self.slot[skip:], self.outcome[skip:]
        )

    @property
    def end(self) -> int:
        """Sequence after the last."""
        return self.sequence + len(self.slot)


@dataclass(frozen=True)
class Event:
    """Something that is no announcement, in its place among them.

    ``values["kind"]`` is ``start``, ``stop``, ``gap``, ``loss``, ``heartbeat``, ``quarantine``, or
    ``summary`` (where the acquisition stands, at the head of a segment of the log).
    """

    sequence: int
    acquisition: int
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, payload: bytes, acquisition: int) -> Event:
        """Raises PayloadError: too short, or no JSON object with a kind."""
        if len(payload) < 8:
            raise PayloadError("event: shorter than its sequence")
        values = _json_object(payload[8:], "event")
        if not isinstance(values.get("kind"), str):
            raise PayloadError("event: no kind")
        return cls(struct.unpack_from("<Q", payload)[0], acquisition, values)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return struct.pack("<Q", self.sequence) + _json_bytes(self.values)

    @property
    def kind(self) -> str:
        """What happened."""
        return str(self.values["kind"])

    @property
    def end(self) -> int:
        """Sequence after this one."""
        return self.sequence + 1


@dataclass(frozen=True)
class Subscribe:
    """What a consumer wants: ``number`` is a sequence or a slot, by ``start``."""

    start: From
    number: int = 0
    acquisition: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> Subscribe:
        """Raises PayloadError: wrong length, unknown start."""
        if len(payload) != 16:
            raise PayloadError(f"subscribe: {len(payload)} bytes instead of 16")
        start, acquisition, number = struct.unpack("<IIQ", payload)
        if start not in From.__members__.values():
            raise PayloadError(f"subscribe: unknown start {start}")
        return cls(From(start), number, acquisition)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return struct.pack("<IIQ", int(self.start), self.acquisition, self.number)


@dataclass(frozen=True)
class Position:
    """The log is durable up to (without) ``sequence``."""

    sequence: int

    @classmethod
    def parse(cls, payload: bytes) -> Position:
        """Raises PayloadError: wrong length."""
        if len(payload) != 8:
            raise PayloadError(f"position: {len(payload)} bytes instead of 8")
        return cls(struct.unpack("<Q", payload)[0])

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return struct.pack("<Q", self.sequence)


@dataclass(frozen=True)
class Welcome:
    """Who serves, the oldest sequence that is kept, and where this subscription begins."""

    relay_id: str
    oldest: int
    sequence: int

    @classmethod
    def parse(cls, payload: bytes) -> Welcome:
        """Raises PayloadError."""
        values = _json_object(payload, "welcome")
        relay_id = values.get("relay_id")
        oldest, sequence = values.get("oldest"), values.get("sequence")
        if not (
            isinstance(relay_id, str) and isinstance(oldest, int) and isinstance(sequence, int)
        ):
            raise PayloadError("welcome: relay_id, oldest or sequence is missing")
        return cls(relay_id, oldest, sequence)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return _json_bytes(
            {"relay_id": self.relay_id, "oldest": self.oldest, "sequence": self.sequence}
        )


@dataclass(frozen=True)
class Refused:
    """Why a subscription is not served, or no longer."""

    reason: str

    @classmethod
    def parse(cls, payload: bytes) -> Refused:
        """Raises PayloadError."""
        return cls(str(_json_object(payload, "refused").get("reason", "")))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return _json_bytes({"reason": self.reason})
