"""The consumer's side of a NATS broker.

The broker is believed no more than the relay. Where we are in a relay's log we know ourselves; the
broker is asked for the message that has the next record, and a consumer is made there anew at every
connection. What it repeats is passed over, what it has out of order or not at all is asked for
again; a record that is missing where the stream goes on without a gap is missing, and that is the
relay's fault, or the broker's, which is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from bellrelay.service.nats_connection import Broker, BrokerUnavailable
from bellrelay.settings.nats import BrokerServers
from bellrelay.wire.messages import Announced, From, Subscribe, Welcome

from .announcement_stream import Record, SubscriptionRefused
from .nats_batch import Batch, parse_batch
from .nats_lookup import Found, StreamLookup

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["NatsAnnouncements"]

_API_S = 3.0
_AWAY_S = 1.0
_MAKE_S = 15.0
"""Where a server has just died, the others may have to choose who leads the consumer: 4 to 9 s."""
_CATCH_UP_S = 10.0
_POLL_S = 1.0
_PULL_S = 2.0
_SILENCE_S = 5.0
_ACK_WAIT_S = 30.0
_PULL = 16


class NatsAnnouncements:
    """One subscription to a relay's stream at a broker, an :class:`.AnnouncementStream`.

    Attributes
    ----------
    welcome, sequence, missing, behind
        As there.
    repeated, foreign : int
        Messages that held nothing new, and messages in the relay's stream that are none of it.
    """

    def __init__(self, broker: Broker, stream: str, consumer: str, start: Found) -> None:
        self.welcome = Welcome(start.relay_id, start.oldest, start.sequence)
        self.sequence = start.sequence
        self.missing = self.repeated = self.foreign = 0
        self.behind: int | None = 0
        self._broker = broker
        self._stream = stream
        self._consumer = consumer
        self._last = start.stream_sequence - 1
        self._subscription: Subscription | None = None

    @classmethod
    async def subscribe(
        cls,
        servers: BrokerServers,
        context: ssl.SSLContext | None,
        stream: str,
        consumer: str,
        relay_id: str,
        wish: Subscribe,
        max_pending: int = 64,
    ) -> NatsAnnouncements:
        """Find the record, and make the consumer there.

        Parameters
        ----------
        consumer
            Ours alone; the broker's answers come under it, too.
        relay_id
            Who is taken for the relay while the stream is empty.
        max_pending
            Messages that the broker hands out before the first of them is acknowledged.

        Raises
        ------
        SubscriptionRefused
            The stream has not got what is asked for.
        PayloadError
            What no relay says stands in the stream.
        BrokerUnavailable
            No connection, or the broker does not do what is asked.
        """
        broker = await Broker.connect(servers, context, consumer)
        try:
            lookup = StreamLookup(broker, stream, relay_id)
            start = await _start(lookup, wish)
            client = cls(broker, stream, consumer, start)
            await client._make_consumer(start.stream_sequence, max_pending)
        except BaseException:
            await broker.close()
            raise
        return client

    async def _make_consumer(self, stream_sequence: int, max_pending: int) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
        from nats.js.errors import NotFoundError

        client = self._broker.client
        js = client.jsm(timeout=_API_S)
        with (
            self._broker.faults(f"consumer {self._consumer} away"),
            # Who would say that it is gone may be the very server that is.
            contextlib.suppress(NotFoundError, TimeoutError),
        ):
            async with asyncio.timeout(_AWAY_S):
                await js.delete_consumer(self._stream, self._consumer)
        with self._broker.faults(f"consumer {self._consumer} made"):
            await js.add_consumer(
                self._stream,
                ConsumerConfig(
                    name=self._consumer,
                    durable_name=self._consumer,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=stream_sequence,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=_ACK_WAIT_S,
                    max_ack_pending=max_pending,
                ),
                timeout=_MAKE_S,
            )
            self._pull = min(_PULL, max_pending)
            # The broker sends no more than was pulled: nothing is dropped for a limit of ours.
            self._subscription = await client.subscribe(
                client.new_inbox(), pending_msgs_limit=0, pending_bytes_limit=0
            )

    async def records(self) -> AsyncIterator[Record]:
        """As :meth:`.AnnouncementStream.records`. What was handed on is acknowledged."""
        async for message in self._messages():
            for record in self._take(message):
                yield record
            with self._broker.faults("acknowledging"):
                await message.ack()

    # ------------------------------------------------------------------------ messages

    async def _messages(self) -> AsyncIterator[Msg]:
        subscription = self._subscription
        assert subscription is not None
        next_message = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        pull = {"batch": self._pull, "expires": int(_PULL_S * 1e9)}
        while True:
            with self._broker.faults("asking for more"):
                await self._broker.client.publish(
                    next_message, json.dumps(pull).encode(), subscription.subject
                )
            for _ in range(self._pull):
                with self._broker.faults("waiting"):
                    message = await subscription.next_msg(timeout=_SILENCE_S)
                status = (message.headers or {}).get("Status")
                if status is None:
                    yield message
                elif status in ("404", "408"):
                    break
                elif status != "100":
                    why = (message.headers or {}).get("Description", "")
                    raise BrokerUnavailable(f"{status} {why}".strip())

    def _take(self, message: Msg) -> list[Record]:
        at, self.behind = self._place(message)
        if at <= self._last:
            self.repeated += 1
            return []
        contiguous = at == self._last + 1
        batch = parse_batch(message.data, message.headers, at)
        if batch is None:
            if not contiguous:
                raise BrokerUnavailable(f"message {at} after {self._last}")
            self.foreign += 1
            self._last = at
            return []
        self._judge(batch, at, contiguous)
        self._last = at
        return self._new(batch)

    def _place(self, message: Msg) -> tuple[int, int]:
        """Where it stands in the stream, and how many come after it."""
        try:
            with self._broker.faults("a message from elsewhere"):
                metadata = message.metadata
            return int(metadata.sequence.stream), int(metadata.num_pending)
        except (ValueError, IndexError):
            raise BrokerUnavailable("a message that says not where it stands") from None

    def _judge(self, batch: Batch, at: int, contiguous: bool) -> None:
        """Whether we can go on with it. OSError, SubscriptionRefused: not as it is."""
        if batch.relay_id != self.welcome.relay_id:
            raise BrokerUnavailable(f"{batch.relay_id!r} speaks, not {self.welcome.relay_id!r}")
        if batch.durable < self.sequence:
            raise BrokerUnavailable(f"the relay's log ends at {batch.durable}: it is another one")
        if batch.first > self.sequence:
            if not contiguous:
                raise BrokerUnavailable(f"message {at} after {self._last}")
            if batch.oldest > self.sequence:
                raise SubscriptionRefused(f"records before {batch.oldest} are no longer kept")

    def _new(self, batch: Batch) -> list[Record]:
        new: list[Record] = []
        for record in batch.records:
            if record.end <= self.sequence:
                continue
            if isinstance(record, Announced):
                record = record.from_sequence(self.sequence)
            self.missing += record.sequence - self.sequence
            self.sequence = record.end
            new.append(record)
        self.repeated += not new
        return new

    # ------------------------------------------------------------------------ the end

    async def close(self) -> None:
        """Hang up. The consumer stays at the broker, until one is made in its place."""
        await self._broker.close()

    async def __aenter__(self) -> NatsAnnouncements:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _start(lookup: StreamLookup, wish: Subscribe) -> Found:
    """Where in the stream what is wished for begins."""
    if wish.start is From.LIVE:
        return await lookup.end()
    if wish.start is not From.SEQUENCE:
        raise SubscriptionRefused("a broker has no slots to begin with: ask by sequence")
    # A relay that has just come back has not sent everything yet.
    until = asyncio.get_running_loop().time() + _CATCH_UP_S
    while True:
        found = await lookup.record(wish.number)
        if found.sequence == wish.number:
            return found
        if asyncio.get_running_loop().time() > until:
            if found.durable < wish.number:
                raise SubscriptionRefused(f"the stream ends at {found.sequence}")
            raise BrokerUnavailable(f"the stream has got to {found.sequence}")
        await asyncio.sleep(_POLL_S)
