"""A relay's announcements, block by block, whatever happens to the connection or to us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from bellrelay.relay.announcement_stream import AnnouncementStream, SubscriptionRefused
from bellrelay.wire.messages import Event, From, Subscribe
from bellrelay.wire.payloads import PayloadError

from .announcement_rules import AnnouncementBreach, BlockBegun, BlockCollector, CollectedBlock

__all__ = ["AnnouncementFollower", "BlockSink", "Connect", "WrongRelay"]

_BACKOFF_S = (0.1, 5.0)
_log = structlog.get_logger(__name__)

Connect = Callable[[Subscribe], Awaitable[AnnouncementStream]]


class WrongRelay(Exception):
    """Who answers calls itself something else than the relay that is configured."""


class BlockSink(Protocol):
    """Where blocks go. What it takes its time for, the relay's log keeps for us."""

    async def begun(self, begun: BlockBegun) -> None:
        """A block is being collected."""
        ...

    async def collected(self, block: CollectedBlock) -> None:
        """A block's list is complete."""
        ...

    async def breached(self, breach: AnnouncementBreach) -> None:
        """The relay broke the rules; nothing of it will come any more."""
        ...


class AnnouncementFollower:
    """Follows one relay for as long as :meth:`run` runs.

    Parameters
    ----------
    connect
        Makes a subscription.
    relay_id
        Whose announcements we want.
    block_slots
        Slots of a block.
    begin
        Where to go on, as the last :class:`BlockBegun` that was kept; None: from the relay's
        oldest record or, where it keeps that no longer, from what it announces next.
    relay
        Number of the relay.

    Attributes
    ----------
    relay_id : str
    connected : bool
    reconnects : int
        Connections after the first.
    reason : str
        Why there is no connection.
    behind : int or None
        Messages that wait for us at a broker; None where there is none.
    take_event : Callable[[str, Event], None]
        Gets the relay's id and every event of the running acquisition, for those to whom events
        say more than where a block ends. It must not wait.
    """

    def __init__(
        self,
        connect: Connect,
        relay_id: str,
        block_slots: int,
        begin: BlockBegun | None = None,
        relay: int = 0,
    ) -> None:
        self.connected = False
        self._heard = time.monotonic()
        self._handing_on = False
        self.reconnects = 0
        self.reason = ""
        self.behind: int | None = None
        self.take_event: Callable[[str, Event], None] = lambda _relay_id, _event: None
        self._connect = connect
        self.relay_id = relay_id
        self._block_slots = block_slots
        self._relay = relay
        self._collector = BlockCollector(block_slots, begin, relay)
        self._from_live = False

    @property
    def position(self) -> tuple[int | None, str]:
        """Sequence of the record that comes next, and the block that is being collected."""
        return self._collector.sequence, str(self._collector.block or "")

    @property
    def silent_s(self) -> float:
        """Seconds since its last record, or since we began to follow it.

        0 while we are busy with a record: what makes the relay wait is not the relay.
        """
        return 0.0 if self._handing_on else time.monotonic() - self._heard

    async def run(self, sink: BlockSink) -> None:
        """Returns when the relay has broken the rules, and only then."""
        wait = _BACKOFF_S[0]
        while True:
            try:
                async with await self._connect(self._subscription()) as client:
                    self._greet(client)
                    self.connected, self.reason, wait = True, "", _BACKOFF_S[0]
                    await self._follow(client, sink)
                self.reason = "the relay hung up"
            except (AnnouncementBreach, PayloadError) as error:
                breach = (
                    error
                    if isinstance(error, AnnouncementBreach)
                    else self._collector.malformed(str(error))
                )
                self.reason = str(breach)
                await sink.breached(breach)
                return
            except SubscriptionRefused as error:
                self.reason = str(error)
                self._give_up_position(str(error))
            except (OSError, WrongRelay, EOFError) as error:
                self.reason = str(error) or type(error).__name__
            finally:
                self.connected = False
            _log.warning("relay not followed", why=self.reason)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _BACKOFF_S[1])
            self.reconnects += 1

    def _subscription(self) -> Subscribe:
        sequence = self._collector.sequence
        if sequence is not None:
            return Subscribe(From.SEQUENCE, sequence)
        return Subscribe(From.LIVE) if self._from_live else Subscribe(From.SEQUENCE, 0)

    def _greet(self, client: AnnouncementStream) -> None:
        if client.welcome.relay_id != self.relay_id:
            raise WrongRelay(f"{client.welcome.relay_id!r} answers, not {self.relay_id!r}")

    async def _follow(self, client: AnnouncementStream, sink: BlockSink) -> None:
        collector = self._collector
        async for record in client.records():
            self._handing_on = True
            try:
                if client.missing:
                    raise collector.missing(client.missing)
                for result in collector.take(record):
                    if isinstance(result, BlockBegun):
                        await sink.begun(result)
                    else:
                        await sink.collected(result)
            finally:
                self.behind = client.behind
                self._heard, self._handing_on = time.monotonic(), False
            if isinstance(record, Event) and record.acquisition == collector.acquisition:
                self._hand_on(record)

    def _hand_on(self, event: Event) -> None:
        try:
            self.take_event(self.relay_id, event)
        except Exception as error:
            # Nothing that a relay says beside its announcements ends a block.
            _log.error("event passed over", kind=event.kind[:40], why=type(error).__name__)

    def _give_up_position(self, why: str) -> None:
        """The relay no longer keeps what we want, or never had it: begin anew with what it has."""
        if self._collector.sequence is None and self._from_live:
            return
        _log.error("announcements lost", why=why, sequence=self._collector.sequence)
        self._collector = BlockCollector(self._block_slots, relay=self._relay)
        self._from_live = True
