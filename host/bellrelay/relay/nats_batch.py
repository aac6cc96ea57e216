"""A NATS message of announcements: what a consumer of the relay's own stream would get.

Its payload is a row of frames as :mod:`bellrelay.wire.messages` has them, numbered from 0: WELCOME
(its sequence is that of the first record), POSITION (the end of the relay's log when the message
was made), then ANNOUNCED and EVENT. Its place in the broker's stream is part of what it says: by
the header ``Nats-Expected-Last-Sequence`` the broker stores it right after that message or not at
all, and whatever stands elsewhere is no message of the relay's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Announced, Position, Welcome
from bellrelay.wire.payloads import PayloadError

from .announcement_stream import Record, record_of

__all__ = ["EXPECTED_LAST", "MESSAGE_ID", "Batch", "encode_batch", "parse_batch", "subject_of"]

EXPECTED_LAST = "Nats-Expected-Last-Sequence"
MESSAGE_ID = "Nats-Msg-Id"


def subject_of(stream: str) -> str:
    """What is published to for this stream."""
    return f"bellrelay.announcements.{stream}"


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive records of a relay. durable : end of its log when it sent them."""

    relay_id: str
    oldest: int
    durable: int
    records: tuple[Record, ...]

    @property
    def first(self) -> int:
        """Sequence of the first record."""
        return self.records[0].sequence

    @property
    def end(self) -> int:
        """Sequence after the last."""
        return self.records[-1].end


def encode_batch(relay_id: str, oldest: int, durable: int, records: Sequence[Record]) -> bytes:
    """The payload of a message with these records, one at least."""
    welcome = Welcome(relay_id, oldest, records[0].sequence)
    out = [
        encode_frame(FrameType.WELCOME, 0, 0, welcome.encode()),
        encode_frame(FrameType.POSITION, 1, 0, Position(durable).encode()),
    ]
    for number, record in enumerate(records, 2):
        kind = FrameType.ANNOUNCED if isinstance(record, Announced) else FrameType.EVENT
        out.append(encode_frame(kind, number, record.acquisition, record.encode()))
    return b"".join(out)


def parse_batch(
    payload: bytes, headers: Mapping[str, str] | None, stream_sequence: int
) -> Batch | None:
    """What a message says that stands there in the stream; None if it is not a relay's.

    Raises
    ------
    PayloadError
        Whole frames that say what no relay says.
    """
    if (headers or {}).get(EXPECTED_LAST) != str(stream_sequence - 1):
        return None
    decoder = FrameDecoder()
    frames = decoder.feed(payload) + decoder.flush()
    whole = not decoder.counts.junk_bytes and [f.sequence for f in frames] == [*range(len(frames))]
    if not whole or [f.type for f in frames[:2]] != [FrameType.WELCOME, FrameType.POSITION]:
        return None
    welcome = Welcome.parse(frames[0].payload)
    durable = Position.parse(frames[1].payload).sequence
    records = []
    for frame in frames[2:]:
        record = record_of(frame)
        if record is None:
            raise PayloadError(f"a frame of type {frame.type} among records")
        records.append(record)
    if not records:
        raise PayloadError("a message without records")
    return Batch(welcome.relay_id, welcome.oldest, durable, tuple(records))
