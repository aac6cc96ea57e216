"""Finds the message of a broker's stream that has a record.

A relay sends its records in order, and some of them again after a break, but never leaves any out
in between. So the ends of its messages only seem to go back; where they pass a record, it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from bellrelay.service.nats_connection import Broker, BrokerUnavailable

from .announcement_stream import SubscriptionRefused
from .nats_batch import Batch, parse_batch, subject_of

__all__ = ["Found", "StreamLookup"]

_API_S = 3.0


@dataclass(frozen=True)
class Found:
    """Where to begin: the first message to have, and the record that is looked for from there on.

    relay_id, oldest, durable : who sent the messages, and what its log has, as the last message
    that was looked at says.
    """

    stream_sequence: int
    sequence: int
    relay_id: str
    oldest: int
    durable: int


@dataclass(frozen=True)
class _At:
    stream_sequence: int
    batch: Batch


class StreamLookup:
    """Of one stream.

    Parameters
    ----------
    relay_id
        Who is said to send where nobody has sent yet.
    """

    def __init__(self, broker: Broker, stream: str, relay_id: str) -> None:
        self._broker = broker
        self._stream = stream
        self._relay_id = relay_id
        self._js = broker.client.jsm(timeout=_API_S)

    async def record(self, sequence: int) -> Found:
        """The message with this record; where there is none yet, the end of the stream.

        Raises
        ------
        SubscriptionRefused
            The stream no longer has it.
        PayloadError
            What no relay says stands in the stream.
        BrokerUnavailable
            The broker does not answer.
        """
        first, last = await self._bounds()
        before, after = await self._between(first, last, sequence)
        if after is None:
            return self._found(last + 1, before, None if before is None else before.batch.end)
        if after.batch.first > sequence and before is None:
            raise SubscriptionRefused(f"records before {after.batch.first} are no longer kept")
        return self._found(after.stream_sequence, after, sequence)

    async def end(self) -> Found:
        """Behind the last message of the relay."""
        first, last = await self._bounds()
        for at in range(last, first - 1, -1):
            here = await self._relay_message(at, at)
            if here is not None:
                return self._found(last + 1, here, here.batch.end)
        return self._found(last + 1, None, None)

    def _found(self, stream_sequence: int, at: _At | None, sequence: int | None) -> Found:
        if at is None:
            return Found(stream_sequence, 0, self._relay_id, 0, 0)
        b = at.batch
        return Found(stream_sequence, sequence or 0, b.relay_id, b.oldest, b.durable)

    async def _bounds(self) -> tuple[int, int]:
        with self._broker.faults(f"stream {self._stream}"):
            state = (await self._js.stream_info(self._stream)).state
            return max(1, state.first_seq), state.last_seq

    async def _between(self, first: int, last: int, sequence: int) -> tuple[_At | None, _At | None]:
        """Two messages of the relay, none of it between: one that ends at or before, one after."""
        before = after = None
        low, high = first, last
        while low <= high:
            middle = (low + high) // 2
            here = await self._relay_message(middle, high)
            if here is None:
                high = middle - 1
            elif here.batch.end > sequence:
                after, high = here, middle - 1
            else:
                before, low = here, here.stream_sequence + 1
        return before, after

    async def _relay_message(self, low: int, high: int) -> _At | None:
        """The relay's first message from ``low`` to ``high``."""
        from nats.js.errors import NotFoundError

        at = low
        while at <= high:
            with self._broker.faults(f"message {at}"):
                try:
                    message = await self._js.get_msg(
                        self._stream, at, subject=subject_of(self._stream), next=True
                    )
                except NotFoundError:
                    return None
            found = message.seq
            if found is None or found < at:
                raise BrokerUnavailable(f"message {found} instead of {at} or a later one")
            if found > high:
                return None
            batch = parse_batch(message.data or b"", message.headers, found)
            if batch is not None:
                return _At(found, batch)
            at = found + 1
        return None
