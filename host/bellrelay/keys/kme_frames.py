"""Frames between two KMEs: four bytes of length, big endian, and one JSON object in UTF-8.

No key bits are in any of them: what travels are names of keys and of who may have them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_FRAME", "FrameError", "encode", "read_frame"]

MAX_FRAME = 1 << 24


class FrameError(ConnectionError):
    """What arrived is no frame."""


def encode(value: Mapping[str, Any]) -> bytes:
    """One frame. ValueError: longer than `MAX_FRAME`."""
    body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes")
    return len(body).to_bytes(4, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next frame.

    Raises
    ------
    FrameError, asyncio.IncompleteReadError
        None comes any more.
    """
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MAX_FRAME:
        raise FrameError(f"a frame of {size} bytes")
    try:
        value = json.loads(await reader.readexactly(size))
    except (ValueError, RecursionError):
        raise FrameError("a frame that is no JSON") from None
    if not isinstance(value, dict):
        raise FrameError("a frame that is no object")
    return value
