"""Payloads of frames as typed values, both ways."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .frames import (
    OUTCOME_SHIFT,
    SLOT_OFFSET_MASK,
    TAG_CHANNEL_SHIFT,
    TAG_TIME_MASK,
    Field,
    FrameType,
    Status,
    heartbeat_fields,
    loss_fields,
)
from .geometry import BoardGeometry
from .outcomes import Outcome
from .registers import State

__all__ = [
    "Announcements",
    "Command",
    "Heartbeat",
    "Histogram",
    "Loss",
    "PayloadError",
    "Response",
    "Tags",
    "are_outcomes",
]

_IS_OUTCOME = np.zeros(1 << 8, np.bool_)
_IS_OUTCOME[[o.value for o in Outcome]] = True


def are_outcomes(outcome: NDArray[np.uint8]) -> bool:
    """Whether every value is one of :class:`~bellrelay.wire.outcomes.Outcome`."""
    return bool(_IS_OUTCOME.take(outcome).all())


class PayloadError(ValueError):
    """A frame's CRC holds, but its payload is none that a board of this geometry sends."""


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise PayloadError(what)


@dataclass(frozen=True, eq=False)
class Announcements:
    """Announced slots up to the end of tick ``cut_tick - 1``.

    slot : (n,) uint64, strictly increasing. outcome : (n,) uint8, see
    :class:`~bellrelay.wire.outcomes.Outcome`.
    """

    cut_tick: int
    slot: NDArray[np.uint64]
    outcome: NDArray[np.uint8]

    @classmethod
    def parse(cls, payload: bytes) -> Announcements:
        """Raises PayloadError: not whole records, an unknown outcome, slots not increasing."""
        _need(len(payload) >= 16 and len(payload) % 4 == 0, "announcements: not whole records")
        cut_tick, base = struct.unpack_from("<QQ", payload)
        records = np.frombuffer(payload, "<u4", offset=16)
        outcome = (records >> OUTCOME_SHIFT).astype(np.uint8)
        offset = (records & SLOT_OFFSET_MASK).astype(np.uint64)
        _need(are_outcomes(outcome), "announcements: unknown outcome")
        _need(bool((offset[1:] > offset[:-1]).all()), "announcements: slots do not increase")
        last = int(offset[-1]) if offset.size else 0
        _need(base + last < 1 << 64, "announcements: slot beyond 64 bits")
        return cls(cut_tick, offset + np.uint64(base), outcome)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`.

        Raises
        ------
        ValueError
            Slots do not increase, or span 2**28 or more.
        """
        base = int(self.slot[0]) if self.slot.size else 0
        offset = self.slot - np.uint64(base)
        if self.slot.size and (
            not (self.slot[1:] > self.slot[:-1]).all() or int(offset[-1]) > SLOT_OFFSET_MASK
        ):
            raise ValueError("slots of one frame increase and span less than 2**28")
        records = offset.astype(np.uint32) | self.outcome.astype(np.uint32) << np.uint32(
            OUTCOME_SHIFT
        )
        return struct.pack("<QQ", self.cut_tick, base) + records.astype("<u4").tobytes()


@dataclass(frozen=True, eq=False)
class Tags:
    """Raw tags of one channel, in order of time.

    cut_ps : end of the tick at which they were sent; they lie in [cut_ps - 2**56, cut_ps).
    words : (n,) uint64 little endian, channel in bits 63..56, picoseconds modulo 2**56 below.
    """

    cut_ps: int
    words: NDArray[np.uint64]

    @classmethod
    def parse(cls, payload: bytes) -> Tags:
        """Raises PayloadError: not whole records."""
        _need(len(payload) >= 8 and len(payload) % 8 == 0, "tags: not whole records")
        return cls(struct.unpack_from("<Q", payload)[0], np.frombuffer(payload, "<u8", offset=8))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        return struct.pack("<Q", self.cut_ps) + self.words.astype("<u8").tobytes()

    def channel(self) -> NDArray[np.uint8]:
        """(n,) uint8."""
        return (self.words >> np.uint64(TAG_CHANNEL_SHIFT)).astype(np.uint8)

    def time(self) -> NDArray[np.int64]:
        """(n,) int64 picoseconds since the acquisition's start, in full."""
        low = self.words & np.uint64(TAG_TIME_MASK)
        behind = (
            (np.uint64(self.cut_ps) - low - np.uint64(1)) & np.uint64(TAG_TIME_MASK)
        ) + np.uint64(1)
        return (np.uint64(self.cut_ps) - behind).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Bins ``first_bin ..`` of one channel's arrival times over ticks [start_tick, end_tick).

    counts : (n,) uint32.
    """

    period: int
    channel: int
    first_bin: int
    start_tick: int
    end_tick: int
    counts: NDArray[np.uint32]

    @classmethod
    def parse(cls, payload: bytes) -> Histogram:
        """Raises PayloadError: not whole records."""
        _need(len(payload) >= 24 and len(payload) % 4 == 0, "histogram: not whole records")
        period, place, start, end = struct.unpack_from("<IIQQ", payload)
        counts = np.frombuffer(payload, "<u4", offset=24)
        return cls(period, place & 0xFFFF, place >> 16, start, end, counts)

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        place = self.channel | self.first_bin << 16
        head = struct.pack("<IIQQ", self.period, place, self.start_tick, self.end_tick)
        return head + self.counts.astype("<u4").tobytes()


@dataclass(frozen=True)
class Loss:
    """An episode of loss, [begin_tick, end_tick), and the loss counters' totals by name."""

    begin_tick: int
    end_tick: int
    totals: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, payload: bytes, geometry: BoardGeometry) -> Loss:
        """Raises PayloadError: not the length of this geometry."""
        values = _unpack(payload, _loss_layout(geometry), "loss")
        return cls(values.pop("begin_tick"), values.pop("end_tick"), values)

    def encode(self, geometry: BoardGeometry) -> bytes:
        """Inverse of :meth:`parse`; a missing counter is 0."""
        values = {"begin_tick": self.begin_tick, "end_tick": self.end_tick, **self.totals}
        return _pack(values, _loss_layout(geometry))


@dataclass(frozen=True)
class Command:
    """A READ or WRITE as the board gets it."""

    tag: int
    address: int
    count: int
    values: tuple[int, ...] = ()

    @classmethod
    def parse(cls, frame_type: FrameType, payload: bytes) -> Command:
        """Raises PayloadError: not the length that its count says."""
        _need(len(payload) >= 8 and len(payload) % 4 == 0, "command: not whole words")
        tag, word, *values = struct.unpack(f"<{len(payload) // 4}I", payload)
        address, count = word & 0xFFFF, word >> 16
        expected = count if frame_type is FrameType.WRITE else 0
        _need(count > 0 and len(values) == expected, "command: count and length differ")
        return cls(tag, address, count, tuple(values))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        words = (self.tag, self.address | self.count << 16, *self.values)
        return struct.pack(f"<{len(words)}I", *words)


@dataclass(frozen=True)
class Response:
    """The answer to the command with this tag."""

    tag: int
    status: Status
    command: int
    address: int
    count: int
    values: tuple[int, ...] = ()

    @classmethod
    def parse(cls, payload: bytes) -> Response:
        """Raises PayloadError: malformed, or an unknown status."""
        _need(len(payload) >= 12 and len(payload) % 4 == 0, "response: not whole words")
        tag, state, word, *values = struct.unpack(f"<{len(payload) // 4}I", payload)
        try:
            status = Status(state & 0xFF)
        except ValueError:
            raise PayloadError(f"response: unknown status {state & 0xFF}") from None
        return cls(tag, status, state >> 8 & 0xFF, word & 0xFFFF, word >> 16, tuple(values))

    def encode(self) -> bytes:
        """Inverse of :meth:`parse`."""
        state = int(self.status) | self.command << 8
        words = (self.tag, state, self.address | self.count << 16, *self.values)
        return struct.pack(f"<{len(words)}I", *words)


@dataclass(frozen=True)
class Heartbeat:
    """A HEARTBEAT: ``fields`` by name as in ``heartbeat_fields``, ``counters`` by name."""

    state: State
    final: bool
    fields: Mapping[str, int]
    counters: Mapping[str, int]

    @classmethod
    def parse(cls, payload: bytes, geometry: BoardGeometry) -> Heartbeat:
        """Raises PayloadError: not the length of this geometry, or an unknown state."""
        layout = _heartbeat_layout(geometry)
        values = _unpack(payload, layout, "heartbeat")
        try:
            state = State(values["state"] & 0xFF)
        except ValueError:
            raise PayloadError(f"heartbeat: unknown state {values['state'] & 0xFF}") from None
        head = _head_length(geometry)
        names = [f.name for f in layout.fields]
        return cls(
            state,
            bool(values["state"] >> 8 & 1),
            {name: values[name] for name in names[:head]},
            {name: values[name] for name in names[head:]},
        )

    def encode(self, geometry: BoardGeometry) -> bytes:
        """Inverse of :meth:`parse`; what is missing is 0."""
        state = int(self.state) | int(self.final) << 8
        values = {**self.fields, **self.counters, "state": state}
        return _pack(values, _heartbeat_layout(geometry))

    @property
    def live_fraction(self) -> float:
        """Share of the closed slots in which every detector could have fired; nan if none."""
        slots = self.counters["slots"]
        return 1 - self.counters["slots_not_live"] / slots if slots else float("nan")


@dataclass(frozen=True)
class _Layout:
    fields: tuple[Field, ...]
    struct: struct.Struct


_CODES = {(1, False): "I", (2, False): "Q", (1, True): "i", (2, True): "q"}


def _layout(fields: Sequence[Field]) -> _Layout:
    codes = "".join(_CODES[f.words, f.signed] for f in fields)
    return _Layout(tuple(fields), struct.Struct("<" + codes))


@lru_cache(maxsize=32)
def _heartbeat_layout(geometry: BoardGeometry) -> _Layout:
    return _layout(heartbeat_fields(geometry))


@lru_cache(maxsize=32)
def _loss_layout(geometry: BoardGeometry) -> _Layout:
    return _layout(loss_fields(geometry))


@lru_cache(maxsize=32)
def _head_length(geometry: BoardGeometry) -> int:
    names = [f.name for f in heartbeat_fields(geometry)]
    return names.index("trim") + 1


def _unpack(payload: bytes, layout: _Layout, what: str) -> dict[str, int]:
    _need(
        len(payload) == layout.struct.size,
        f"{what}: {len(payload)} bytes, this board's have {layout.struct.size}",
    )
    names = (f.name for f in layout.fields)
    return dict(zip(names, layout.struct.unpack(payload), strict=True))


def _pack(values: Mapping[str, int], layout: _Layout) -> bytes:
    return layout.struct.pack(*(values.get(f.name, 0) for f in layout.fields))
