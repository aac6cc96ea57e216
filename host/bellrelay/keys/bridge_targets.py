"""What a bridge pushes to: a key manager that takes keys by name, and takes each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .bridge_settings import BridgeSettings

__all__ = ["BridgeKey", "KeyTarget", "TargetRefused", "TargetUnavailable", "open_target"]


class TargetUnavailable(Exception):
    """The manager cannot be reached or does not let us in: all of its keys wait.

    wait_s : how long it wants to be left alone, where it said so.
    """

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class TargetRefused(Exception):
    """The manager does not take this one key. No text of these errors holds any key."""


@dataclass(frozen=True)
class BridgeKey:
    """A key on its way. key : for the caller to wipe. blocks : how what it is made of came about,
    each with ``block_id``, ``relay``, ``begun_ns``, ``made_ns``, ``epsilon``.
    """

    key_id: str
    size_bits: int
    master: str
    blocks: Sequence[Mapping[str, Any]]
    key: bytearray = field(repr=False)


class KeyTarget(Protocol):
    """A connection to a key manager; used by one thread at a time."""

    def put(self, key: BridgeKey) -> str:
        """Put a key there under its key_id, and give the name that the manager has for it.

        Idempotent: a key that is there already is as good as put.

        Raises
        ------
        TargetUnavailable, TargetRefused
        """

    def recall(self, key_id: str, remote_id: str, reason: str) -> None:
        """Make the manager give the key out no more. Idempotent; raises as :meth:`put`."""

    def close(self) -> None:
        """Hang up."""


def open_target(settings: BridgeSettings) -> KeyTarget:
    """The target of a bridge; it connects when it is used.

    Raises
    ------
    OSError
        A certificate, key or token cannot be read, or others could read it.
    ModuleNotFoundError
        PyKMIP is not installed: the extra ``kmip``.
    """
    # Each brings libraries of its own; a function that starts cold loads the one that it needs.
    if settings.kmip is not None:
        from .bridge_kmip import KmipKeys

        return KmipKeys(settings.kmip, settings.timeout_s)
    from .bridge_https import HttpsKeys

    assert settings.https is not None
    return HttpsKeys(settings.https, settings.timeout_s)
