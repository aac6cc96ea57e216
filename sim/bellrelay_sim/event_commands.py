"""Receives command frames byte by byte, as the board does."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from bellrelay.wire.frames import COMMAND_MAX_WORDS, HEADER_WORDS, MAGIC, FrameType
from bellrelay.wire.registers import PROTOCOL_VERSION

__all__ = ["CommandReceiver", "Received"]

_MAGIC = MAGIC.to_bytes(4, "little")
_MAX_PAYLOAD = 2 + COMMAND_MAX_WORDS


@dataclass(frozen=True)
class Received:
    """A frame that came in: ``payload`` is None if it was damaged."""

    clock: int
    frame_type: int
    payload: tuple[int, ...] | None


class CommandReceiver:
    """Finds frames in a stream of bytes.

    A frame that breaks off, in which a CRC is wrong, or that is no READ or WRITE of a possible
    length is damaged; the search goes on with the byte that follows.
    """

    def __init__(self, timeout_clocks: int) -> None:
        self._timeout = timeout_clocks
        self._frame = bytearray()
        self._last = 0

    def drop(self) -> None:
        """Forget a frame that broke off."""
        self._frame.clear()

    @property
    def expires(self) -> int | None:
        """First clock in which a frame that has begun counts as broken off."""
        return self._last + self._timeout + 1 if len(self._frame) >= len(_MAGIC) else None

    def feed(self, byte: int, clock: int) -> Received | None:
        """The byte accepted in this clock; a frame that ends with it."""
        frame = self._frame
        frame.append(byte)
        self._last = clock
        if len(frame) <= len(_MAGIC):
            while frame and not _MAGIC.startswith(frame):
                del frame[0]
            return None
        if len(frame) < 4 * HEADER_WORDS:
            return None
        words = int.from_bytes(frame[6:8], "little")
        kind = frame[4]
        if len(frame) == 4 * HEADER_WORDS and (
            zlib.crc32(frame[:16]) != int.from_bytes(frame[16:20], "little")
            or kind not in (FrameType.READ, FrameType.WRITE)
            or frame[5] != PROTOCOL_VERSION
            or not 2 <= words <= _MAX_PAYLOAD
        ):
            frame.clear()
            return Received(clock, kind, None)
        if len(frame) < 4 * (HEADER_WORDS + words + 1):
            return None
        body = bytes(frame)
        frame.clear()
        if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return Received(clock, kind, None)
        payload = body[4 * HEADER_WORDS : -4]
        return Received(
            clock,
            kind,
            tuple(int.from_bytes(payload[i : i + 4], "little") for i in range(0, len(payload), 4)),
        )
