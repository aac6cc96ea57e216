"""Layout of frames: what every byte between board and host means.

A frame is a sequence of little-endian 32-bit words: five words of header, the payload, a CRC.
Payloads are described here as sequences of :class:`Field`, used by the gateware's framer, the
event board and the host's parser alike.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from .counters import counters, loss_counters
from .geometry import BoardGeometry
from .registers import PROTOCOL_VERSION

__all__ = [
    "COMMAND_MAX_WORDS",
    "HEADER_WORDS",
    "MAGIC",
    "OUTCOME_SHIFT",
    "OVERHEAD_WORDS",
    "RESERVE_CONTROL_WORDS",
    "SLOT_OFFSET_MASK",
    "TAG_CHANNEL_SHIFT",
    "TAG_TIME_MASK",
    "Field",
    "FrameType",
    "Status",
    "command_word",
    "encode_frame",
    "heartbeat_fields",
    "loss_fields",
]

MAGIC = 0x1AB3_5EC7
"""First word of every frame; on the wire C7 5E B3 1A."""

HEADER_WORDS = 5
OVERHEAD_WORDS = HEADER_WORDS + 1
"""Header and trailing CRC."""

COMMAND_MAX_WORDS = 128
"""Most registers that one READ or WRITE may address."""

RESERVE_CONTROL_WORDS = 512
"""Words of the link buffer that announcements leave free for LOSS, RESPONSE and HEARTBEAT."""

OUTCOME_SHIFT = 28
SLOT_OFFSET_MASK = (1 << OUTCOME_SHIFT) - 1
"""Announcement record: outcome in bits 31..28, slot minus base slot below."""

TAG_CHANNEL_SHIFT = 56
TAG_TIME_MASK = (1 << TAG_CHANNEL_SHIFT) - 1
"""Tag word: channel in bits 63..56, picoseconds modulo 2**56 below."""


class FrameType(IntEnum):
    """Type byte of a frame.

    Below 16 from the board, from 16 on to the board; from 32 on between daemon and consumers, and
    in the announcement log (payloads in :mod:`bellrelay.wire.messages`).
    """

    ANNOUNCEMENTS = 1
    TAGS = 2
    HISTOGRAM = 3
    LOSS = 4
    RESPONSE = 5
    HEARTBEAT = 6
    READ = 16
    WRITE = 17
    SUBSCRIBE = 32
    WELCOME = 33
    ANNOUNCED = 34
    EVENT = 35
    POSITION = 36
    REFUSED = 37


class Status(IntEnum):
    """Answer to a command."""

    OK = 0
    UNKNOWN_ADDRESS = 1
    READ_ONLY = 2
    LOCKED = 3
    OUT_OF_RANGE = 4
    MALFORMED = 5


@dataclass(frozen=True)
class Field:
    """``words`` consecutive words of a payload, low word first, read as one number."""

    name: str
    words: int
    signed: bool = False


# ANNOUNCEMENTS payload: cut_tick (2 words), base_slot (2), then one word per record.
# TAGS payload: cut_ps (2 words: every tag of the frame lies in [cut_ps - 2**56, cut_ps)), then two
#   words per tag. All tags of a frame are of one channel, in order of time.
# HISTOGRAM payload: period (1: number of the period, from 0), channel | first_bin << 16 (1),
#   start_tick (2), end_tick (2), then one word per bin.
# RESPONSE payload: tag (1), status | type of the command << 8 (1), command word (1), then the
#   values of a successful READ.
# READ payload: tag (1), command word (1). WRITE payload: the same, then the values.


def command_word(address: int, count: int) -> int:
    """Address in bits 15..0, number of registers in bits 31..16.

    Raises
    ------
    ValueError
        Out of range.
    """
    if not (0 <= address < 1 << 16 and 1 <= count <= COMMAND_MAX_WORDS):
        raise ValueError(f"address {address:#x}, count {count}: 16 bits, 1 to {COMMAND_MAX_WORDS}")
    return address | count << 16


def heartbeat_fields(geometry: BoardGeometry) -> tuple[Field, ...]:
    """Payload of a HEARTBEAT.

    ``state`` is a :class:`~bellrelay.wire.registers.State` in bits 7..0 (the state during the tick
    that ends) and bit 8 for the final heartbeat of an acquisition. ``link_fill`` is the fill of
    the link buffer, in words, at the boundary. ``sync_slot`` and ``sync_pos`` are those of the
    last sync tag.
    """
    head = (
        Field("module_id", 1),
        Field("gateware_version", 1),
        Field("config_hash", 1),
        Field("state", 1),
        Field("uptime_ticks", 2),
        Field("cut_tick", 2),
        Field("cut_ps", 2),
        Field("cut_slot", 2),
        Field("start_utc_ns", 2),
        Field("temperature_mdegc", 1, signed=True),
        Field("link_fill", 1),
        Field("sync_slot", 2),
        Field("sync_pos", 1),
        Field("trim", 1, signed=True),
    )
    return head + tuple(Field(c.name, 2) for c in counters(geometry))


def loss_fields(geometry: BoardGeometry) -> tuple[Field, ...]:
    """Payload of a LOSS: the episode in ticks, then the totals of the loss counters."""
    head = (Field("begin_tick", 2), Field("end_tick", 2))
    return head + tuple(Field(c.name, 2) for c in loss_counters(geometry))


def encode_frame(
    frame_type: FrameType, sequence: int, acquisition: int, payload: Sequence[int] | bytes
) -> bytes:
    """One frame as bytes.

    Parameters
    ----------
    payload
        Words (0 to 2**32 - 1), or bytes whose number is a multiple of four.

    Raises
    ------
    ValueError
        Payload longer than 65535 words, or not whole words.
    """
    body = payload if isinstance(payload, bytes) else struct.pack(f"<{len(payload)}I", *payload)
    words, rest = divmod(len(body), 4)
    if rest or words > 0xFFFF:
        raise ValueError(f"payload of {len(body)} bytes is not 0 to 65535 whole words")
    head = struct.pack(
        "<4I",
        MAGIC,
        int(frame_type) | PROTOCOL_VERSION << 8 | words << 16,
        sequence & 0xFFFF_FFFF,
        acquisition & 0xFFFF_FFFF,
    )
    frame = head + struct.pack("<I", zlib.crc32(head)) + body
    return frame + struct.pack("<I", zlib.crc32(frame))
