"""Overwriting memory that held keys.

Python copies bytes as it likes: what passed through ``bytes``, JSON, base64 or TLS stays in freed
memory until that is used again. So plain key lies in a ``bytearray`` as long as possible, and that
is overwritten when it has been used. See docs/reference/key-store.md, "Memory".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["wipe", "wiped_after"]


def wipe(*buffers: bytearray) -> None:
    """Overwrite with zeros, in place; the length stays, so that no buffer is moved."""
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))


@contextmanager
def wiped_after(buffer: bytearray) -> Iterator[bytearray]:
    """A buffer that is overwritten on the way out, whatever the way."""
    try:
        yield buffer
    finally:
        wipe(buffer)
