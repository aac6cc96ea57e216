"""The conversation of both endpoints about one block: in turn, transcribed, vouched for by tags."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from bellrelay.wire.peer_messages import (
    Abort,
    Exchange,
    Kind,
    PeerFrame,
    PeerMessageError,
    Tag,
)

from .block import BlockAborted, BlockId, Cause, aborted_by_peer
from .exchange_tags import ExchangeTags, TagRefused
from .key_pool import KeyPoolDry, KeyRefused

__all__ = ["BlockTalk", "Encoded", "Message", "TalkOver"]

_MOST_UNHEARD = 64
_LONG_BYTES = 1 << 16
"""Bodies beyond are parsed in a thread: the loop carries other blocks' messages meanwhile."""


class TalkOver(Exception):
    """The session ended under the conversation: whatever was under way is over."""


class Message(Protocol):
    """A body with its kind."""

    @property
    def KIND(self) -> Any:
        """What the frame's header says."""
        ...

    def encode(self) -> bytes:
        """The body."""
        ...


_M = TypeVar("_M")
Send = Callable[[Kind, Exchange, tuple[int, int, int], bytes], Awaitable[bool]]
NewTags = Callable[[Exchange, Sequence[bytes]], ExchangeTags]


@dataclass(frozen=True)
class Encoded:
    """A body that is made already: elsewhere, or by somebody who alone knows what is in it."""

    kind: Kind
    body: bytes = field(repr=False)

    @property
    def KIND(self) -> Kind:
        """What the frame's header says."""
        return self.kind

    def encode(self) -> bytes:
        """The body."""
        return self.body


class BlockTalk:
    """One block's end of the channel.

    Parameters
    ----------
    block
        Which.
    send
        Hands a message to the channel; False if the session is over.
    new_tags
        Begins the transcript of an exchange.
    checkpoint
        Called with a name before and after whatever may be interrupted; for tests.
    patience_s
        How long to wait for the peer's next message.
    """

    def __init__(
        self,
        block: BlockId,
        send: Send,
        new_tags: NewTags,
        checkpoint: Callable[[str], None],
        patience_s: float,
    ) -> None:
        self.block = block
        self._send = send
        self._new_tags = new_tags
        self._checkpoint = checkpoint
        self._patience_s = patience_s
        self._heard: deque[PeerFrame] = deque()
        self._more = asyncio.Event()
        self._over = False
        self._flooded = False
        self._exchange = Exchange.CHANNEL
        self._tags: ExchangeTags | None = None

    # ------------------------------------------------------------------- for the channel

    def received(self, frame: PeerFrame) -> None:
        """A message about this block has come."""
        if len(self._heard) < _MOST_UNHEARD:
            self._heard.append(frame)
        else:
            self._flooded = True
        self._more.set()

    def end(self) -> None:
        """The session is over: every wait ends, nothing is sent any more."""
        self._over = True
        self._more.set()

    # ------------------------------------------------------------------- for the exchanges

    def begin(self, exchange: Exchange, *known: bytes) -> None:
        """Begin an exchange; ``known`` is what both must have in common besides what is said."""
        self._exchange = exchange
        self._tags = self._new_tags(exchange, known)

    async def say(self, message: Message) -> None:
        """Send a message of the running exchange."""
        frame = self._frame(message.KIND, message.encode())
        assert self._tags is not None
        self._tags.said(frame.transcribed())
        await self._out(frame)

    async def hear(self, kind: Kind, parse: Callable[[bytes], _M]) -> _M:
        """The next message, which must be of this kind.

        Raises
        ------
        BlockAborted
            The peer aborts, says something else, or nothing for too long.
        TalkOver
        """
        frame = await self._next()
        if frame.kind is not kind or frame.exchange is not self._exchange:
            raise BlockAborted(
                Cause.PROTOCOL,
                f"{frame.kind.name} of {frame.exchange.name} instead of {kind.name}",
            )
        assert self._tags is not None
        self._tags.heard(frame.transcribed())
        if len(frame.body) > _LONG_BYTES:
            return await asyncio.to_thread(self._parsed, parse, frame)
        return self._parsed(parse, frame)

    async def vouch(self) -> None:
        """Send the tag over the exchange so far."""
        assert self._tags is not None
        try:
            index, tag = await asyncio.to_thread(self._tags.vouch)
        except KeyPoolDry as error:
            raise BlockAborted(Cause.POOL_DRY, str(error)) from None
        except TagRefused as error:
            raise BlockAborted(Cause.AUTHENTICATION, str(error)) from None
        await self._out(self._frame(Kind.TAG, Tag(index, tag).encode()))

    async def trust(self) -> None:
        """Take the peer's tag over the exchange so far: what it said is what was heard.

        Raises
        ------
        BlockAborted, TalkOver
        """
        frame = await self._next()
        if frame.kind is not Kind.TAG or frame.exchange is not self._exchange:
            raise BlockAborted(Cause.PROTOCOL, f"{frame.kind.name} instead of TAG")
        tag = self._parsed(Tag.parse, frame)
        assert self._tags is not None
        try:
            await asyncio.to_thread(self._tags.check, tag.index, tag.tag)
        except (TagRefused, KeyRefused) as error:
            raise BlockAborted(Cause.AUTHENTICATION, str(error)) from None
        except KeyPoolDry as error:
            raise BlockAborted(Cause.POOL_DRY, str(error)) from None

    def _frame(self, kind: Kind, body: bytes) -> PeerFrame:
        return PeerFrame(kind, self._exchange, *self.block.at, body=body)

    def _parsed(self, parse: Callable[[bytes], _M], frame: PeerFrame) -> _M:
        try:
            return parse(frame.body)
        except PeerMessageError as error:
            raise BlockAborted(Cause.PROTOCOL, str(error)) from None

    async def _out(self, frame: PeerFrame) -> None:
        name = f"{frame.exchange.name} {frame.kind.name}".lower()
        self._checkpoint(f"before sending {name}")
        at = self.block.at
        if self._over or not await self._send(frame.kind, frame.exchange, at, frame.body):
            raise TalkOver
        self._checkpoint(f"after sending {name}")

    async def _next(self) -> PeerFrame:
        try:
            async with asyncio.timeout(self._patience_s):
                while not self._heard and not self._over:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise BlockAborted(Cause.TIMEOUT, "the peer says nothing") from None
        if self._over:
            raise TalkOver
        if self._flooded:
            raise BlockAborted(Cause.PROTOCOL, "the peer says more than it may unasked")
        frame = self._heard.popleft()
        self._checkpoint(f"after hearing {frame.exchange.name} {frame.kind.name}".lower())
        if frame.kind is Kind.ABORT:
            raise aborted_by_peer(self._parsed(Abort.parse, frame).cause)
        return frame
