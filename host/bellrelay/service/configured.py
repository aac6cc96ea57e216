"""Using what a configuration names: an OSError becomes the error that names file, key and value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bellrelay.settings.model import FileModel

__all__ = ["listen", "usable"]

T = TypeVar("T")


async def listen(
    config: FileModel, key: str, address: object, start: Callable[[], Awaitable[None]]
) -> None:
    """Start to listen. ConfigError: the address of this key cannot be had."""
    try:
        await start()
    except OSError as error:
        raise config.error(key, address, f"an address that is free ({_reason(error)})") from error


def usable(config: FileModel, key: str, make: Callable[[], T]) -> T:
    """What is made of the PEM files below this key. ConfigError: they cannot be used."""
    try:
        return make()
    except OSError as error:
        raise config.error(key, _reason(error), "PEM files that can be read and fit") from error


def _reason(error: OSError) -> str:
    return " ".join(str(error.strerror or error).split())
