"""What consumers get of a relay, whichever way it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from bellrelay.wire.decoder import Frame
from bellrelay.wire.frames import FrameType
from bellrelay.wire.messages import Announced, Event, Welcome

__all__ = ["AnnouncementStream", "Record", "SubscriptionRefused", "record_of"]

Record = Announced | Event


class SubscriptionRefused(Exception):
    """What was asked for is not served, or no longer; the words of who serves."""


class AnnouncementStream(Protocol):
    """One subscription; an asynchronous context manager.

    Attributes
    ----------
    welcome : Welcome
        Who serves, and from where on.
    sequence : int
        Of the record that comes next: where to subscribe again after a break.
    missing : int
        Records that the relay's log has lost: whatever way they come, no record fills their place.
    behind : int or None
        Messages that wait for us at a broker; None where there is none.
    """

    welcome: Welcome
    sequence: int
    missing: int
    behind: int | None

    def records(self) -> AsyncIterator[Record]:
        """Records in order, none twice, for as long as the connection holds.

        Raises
        ------
        OSError
            The connection broke, or what came cannot be gone on with: subscribe again.
        SubscriptionRefused
            What comes next is no longer kept.
        PayloadError
            Not what a relay says.
        """
        ...

    async def __aenter__(self) -> AnnouncementStream: ...

    async def __aexit__(self, *_: object) -> None: ...


def record_of(frame: Frame) -> Record | None:
    """The record in a frame; None in one of another type. Raises PayloadError."""
    if frame.type == FrameType.ANNOUNCED:
        return Announced.parse(frame.payload, frame.acquisition)
    if frame.type == FrameType.EVENT:
        return Event.parse(frame.payload, frame.acquisition)
    return None
