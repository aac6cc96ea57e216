"""From bytes to frames, whatever happened to the bytes on the way.

Nothing is believed before it is checked: the length only after the header's CRC, the payload only
after the frame's CRC. Where a check fails, the search for the next frame goes on one byte further,
inside the damaged one, so that a frame that arrived whole is never lost to its neighbour.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from .frames import HEADER_WORDS, MAGIC, OVERHEAD_WORDS
from .registers import PROTOCOL_VERSION

__all__ = ["DecoderCounts", "Frame", "FrameDecoder"]

_MAGIC = MAGIC.to_bytes(4, "little")
_HEADER = struct.Struct("<5I")
_HEADER_BYTES = 4 * HEADER_WORDS
_WORD = struct.Struct("<I")
_SEQUENCES = 1 << 32
_REPEATS = 64


@dataclass(frozen=True)
class Frame:
    """A frame whose CRCs hold.

    ``type`` is the type byte as it came: a type that this version does not know is a frame all
    the same. ``missing`` is the number of frames that should have come between the one before and
    this one, modulo 2**32; ``restarted`` says that the sequence began anew (the board was reset),
    so that how many are missing cannot be known.
    """

    type: int
    sequence: int
    acquisition: int
    payload: bytes = field(repr=False)
    missing: int = 0
    restarted: bool = False


@dataclass
class DecoderCounts:
    """What a decoder has seen. Every byte fed is in a good frame, in ``junk_bytes`` or pending."""

    frames: int = 0
    frame_bytes: int = 0
    junk_bytes: int = 0
    bad_headers: int = 0
    """A magic word behind which no header stood; chance produces them in payloads, too."""
    bad_frames: int = 0
    """Good header, but the frame's CRC fails."""
    foreign_versions: int = 0
    """Good frames of another protocol version: dropped."""
    missing: int = 0
    """Frames that the sequence numbers prove lost."""
    repeated: int = 0
    """Frames whose number was there already, or was passed over a moment ago: dropped."""
    restarts: int = 0
    """How often the sequence began anew."""


class FrameDecoder:
    """Incremental decoder: feed bytes as they come, get the frames that they complete.

    Parameters
    ----------
    max_payload_words
        A header that announces more is taken for damaged. The format's own limit is 65535.

    Attributes
    ----------
    counts : DecoderCounts
    max_payload_words : int
        May be lowered once the board's geometry is known: a damaged length then costs the time of
        one frame at most.
    """

    def __init__(self, max_payload_words: int = 0xFFFF) -> None:
        if not 0 <= max_payload_words <= 0xFFFF:
            raise ValueError(f"max_payload_words is {max_payload_words}; allowed: 0 to 65535")
        self.counts = DecoderCounts()
        self.max_payload_words = max_payload_words
        self._buffer = bytearray()
        self._last: int | None = None

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take bytes, return the frames that are complete, in order. Never raises for its input."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        position, end = 0, len(buffer)
        counts = self.counts
        while True:
            start = buffer.find(_MAGIC, position)
            if start < 0:
                # The last three bytes may be the beginning of a magic word.
                start = max(position, end - 3)
                while start < end and not _MAGIC.startswith(buffer[start:end]):
                    start += 1
                counts.junk_bytes += start - position
                position = start
                break
            counts.junk_bytes += start - position
            position = start
            if end - start < _HEADER_BYTES:
                break
            _, kind, sequence, acquisition, header_crc = _HEADER.unpack_from(buffer, start)
            words = kind >> 16
            good = zlib.crc32(memoryview(buffer)[start : start + 16]) == header_crc
            if not good or words > self.max_payload_words:
                counts.bad_headers += 1
                counts.junk_bytes += 1
                position = start + 1
                continue
            length = 4 * (words + OVERHEAD_WORDS)
            if end - start < length:
                break
            crc_at = start + length - 4
            with memoryview(buffer) as view:
                crc = zlib.crc32(view[start:crc_at])
                payload = bytes(view[start + _HEADER_BYTES : crc_at])
            if crc != _WORD.unpack_from(buffer, crc_at)[0]:
                counts.bad_frames += 1
                counts.junk_bytes += 1
                position = start + 1
                continue
            position = start + length
            counts.frame_bytes += length
            if kind >> 8 & 0xFF != PROTOCOL_VERSION:
                counts.foreign_versions += 1
                continue
            frame = self._follow(kind & 0xFF, sequence, acquisition, payload)
            if frame is not None:
                frames.append(frame)
        del buffer[:position]
        return frames

    def flush(self) -> list[Frame]:
        """Give up waiting: whatever is pending is damaged; return what is whole inside it.

        For the end of a recording, and for a link on which nothing has come for a while: a header
        whose frame was cut off would otherwise wait for bytes of later frames.
        """
        frames: list[Frame] = []
        while self._buffer:
            rest = bytes(self._buffer[1:])
            self._buffer.clear()
            self.counts.junk_bytes += 1
            frames += self.feed(rest)
        return frames

    def forget_sequence(self) -> None:
        """Accept any sequence number next: the link was opened anew."""
        self._last = None

    def _follow(self, kind: int, sequence: int, acquisition: int, payload: bytes) -> Frame | None:
        last = self._last
        missing = 0 if last is None else (sequence - last - 1) % _SEQUENCES
        restarted = False
        if missing >= _SEQUENCES // 2:
            # Behind the last one. A board sends no number twice, so this is a reset or a line
            # that repeats itself; far behind, it can only be a reset whose first frames were lost.
            if sequence != 0 and _SEQUENCES - missing <= _REPEATS:
                self.counts.repeated += 1
                return None
            restarted, missing = True, 0
            self.counts.restarts += 1
        self._last = sequence
        self.counts.frames += 1
        self.counts.missing += missing
        return Frame(kind, sequence, acquisition, payload, missing, restarted)
