"""Announcements to a NATS broker, from the durable log.

The log is the only buffer: what the broker has not acknowledged is read from it again, and neither
the board's reader nor the log's writer notices how the broker does. One message is under way at a
time; meanwhile the next one gathers, so that messages grow with the load up to their full size.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from typing import TYPE_CHECKING, Any

import structlog

from bellrelay.service.nats_connection import Broker, BrokerUnavailable, broker_context

from .announcement_log import AnnouncementLog, LogReader, LogTrimmed
from .block_trace import RelayTrace
from .nats_batch import EXPECTED_LAST, MESSAGE_ID, encode_batch, subject_of
from .nats_position import BrokerPosition
from .nats_settings import NatsSettings

if TYPE_CHECKING:
    from nats.js.client import JetStreamContext

__all__ = ["NatsPublisher"]

_ACK_S = 3.0
_BACKOFF_S = (0.1, 5.0)
_SAVE_S = 1.0
_LAST_WORDS_S = 2.0
_WRONG_LAST_SEQUENCE = 10071
_HEADROOM_BYTES = 80 << 10
"""A batch may be longer than asked for by a block of the log, and by its head."""
_SMALLEST_BYTES = 4 << 10
_RECORD_BYTES = 4
_log = structlog.get_logger(__name__)


class _OtherEnd(Exception):
    """The stream ends somewhere else than we thought: the message was not stored."""

    def __init__(self, last: int) -> None:
        super().__init__(f"the stream ends at {last}")
        self.last = last


class NatsPublisher:
    """Publishes one log to one stream.

    Attributes
    ----------
    connected : bool
    reason : str
        Why there is no connection, or why nothing gets on.
    published : int
        Messages that were sent, those that were sent again included.
    acknowledged : int
        Messages that the broker has.
    reconnects : int
        Connections after the first.
    """

    def __init__(
        self,
        settings: NatsSettings,
        relay_id: str,
        log: AnnouncementLog,
        trace: RelayTrace | None = None,
    ) -> None:
        self.connected = False
        self.reason = ""
        self.published = self.acknowledged = self.reconnects = 0
        self._relay_id = relay_id
        self._settings = settings
        self._stream = settings.stream_of(relay_id)
        self._log = log
        self._trace = (trace or RelayTrace()).consumer("broker")
        self._grown = asyncio.Event()
        self._ending = False
        self._position = BrokerPosition(log.directory / f"broker-{self._stream}.json")
        self._context: ssl.SSLContext | None = None
        self._reader: LogReader | None = None
        self._batch: tuple[int, int, bytes] | None = None
        self._attempt = 0
        self._sent_at = self._saved_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to publish. OSError: a certificate or key that cannot be read, no nats-py."""
        self._context = broker_context(self._settings)
        end = self._position.end
        if end is None or not self._log.oldest_sequence <= end <= self._log.durable_sequence:
            self._position.forget()
        self._task = asyncio.ensure_future(self._run())

    def grown(self) -> None:
        """The log has more durable records. In the loop's thread."""
        self._grown.set()

    async def stop(self) -> None:
        """End once the broker has what the log ends with, or after a while without."""
        if self._task is None:
            return
        self._ending = True
        self._grown.set()
        if self.connected:
            await asyncio.wait({self._task}, timeout=_LAST_WORDS_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._save()
        if self._reader is not None:
            self._reader.close()

    @property
    def sequence(self) -> int:
        """Of the first record that the broker has not acknowledged."""
        end = self._position.end
        return self._log.oldest_sequence if end is None else end

    def status(self) -> dict[str, Any]:
        """What /health says; plain types."""
        return {
            "stream": self._stream,
            "connected": self.connected,
            "reason": self.reason,
            "reconnects": self.reconnects,
            "published": self.published,
            "acknowledged": self.acknowledged,
            "sequence": self.sequence,
            "pending": max(0, self._log.durable_sequence - self.sequence),
        }

    # ------------------------------------------------------------------------ the rounds

    async def _run(self) -> None:
        wait = _BACKOFF_S[0]
        while True:
            try:
                broker = await Broker.connect(self._settings, self._context, self._stream)
                try:
                    self.connected = True
                    before = self.acknowledged
                    await self._publish(broker)
                    return
                finally:
                    self.connected = False
                    if self.acknowledged > before:
                        wait = _BACKOFF_S[0]
                    await broker.close()
            except OSError as error:
                if str(error) != self.reason:
                    _log.warning("broker not reached", why=str(error))
                self.reason = str(error) or type(error).__name__
            await asyncio.sleep(wait)
            wait = min(2 * wait, _BACKOFF_S[1])
            self.reconnects += 1

    async def _publish(self, broker: Broker) -> None:
        """Until the log ends and we are ending. BrokerUnavailable: it does not get on."""
        js = broker.client.jetstream(timeout=_ACK_S)
        most = broker.client.max_payload
        size = min(self._settings.batch_kib << 10, most - _HEADROOM_BYTES)
        if size < _SMALLEST_BYTES:
            need = _HEADROOM_BYTES + _SMALLEST_BYTES
            raise BrokerUnavailable(f"its max_payload is {most}; at least {need} is needed")
        while True:
            if self._batch is None:
                self._batch = await self._next_batch(size)
            if self._batch is None:
                return
            first, end, payload = self._batch
            expected = self._position.stream_sequence
            try:
                await self._store(broker, js, f"{first}-{end}", expected, payload)
            except _OtherEnd as other:
                self._elsewhere(other.last)
                await asyncio.sleep(_BACKOFF_S[0])
                continue
            self._batch = None
            self.acknowledged += 1
            self.reason = ""
            self._position.acknowledged(expected + 1, end)
            if time.monotonic() - self._saved_at >= _SAVE_S:
                self._save()

    async def _store(
        self, broker: Broker, js: JetStreamContext, what: str, expected: int, payload: bytes
    ) -> None:
        """Have it stored right after ``expected``."""
        from nats.js.errors import APIError

        # Sent again, it has the same id, and the broker stores it once. Meant for another place, or
        # taken for stored while it is not there, it has another.
        headers = {
            MESSAGE_ID: f"{what}-{expected}-{self._attempt}",
            EXPECTED_LAST: str(expected),
        }
        self.published += 1
        self._sent_at = time.monotonic()
        with broker.faults("publishing"):
            try:
                ack = await js.publish(
                    subject_of(self._stream), payload, stream=self._stream, headers=headers
                )
            except APIError as error:
                ends = re.search(r"(\d+)$", error.description or "")
                if error.err_code == _WRONG_LAST_SEQUENCE and ends is not None:
                    raise _OtherEnd(int(ends[1])) from None
                raise
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BrokerUnavailable(f"no acknowledgement: {type(error).__name__}") from None
        if ack.seq != expected + 1:
            self._attempt += 1
            raise BrokerUnavailable(f"stored as {ack.seq} instead of {expected + 1}")

    def _elsewhere(self, last: int) -> None:
        """The stream ends at another message than the last of ours that we know of.

        Later: messages of ours whose acknowledgement we have not seen, or somebody else's; we go
        on behind them, and records that come twice are passed over. Earlier: the broker has lost
        some; we go back with it.
        """
        if last > self._position.stream_sequence:
            self._position.stream_sequence = last
            return
        known = self._position.go_back(last)
        _log.warning("broker lost messages", stream=self._stream, ends_at=last, known=known)
        self._batch = None
        self._close_reader()

    # ------------------------------------------------------------------------ from the log

    async def _next_batch(self, size: int) -> tuple[int, int, bytes] | None:
        while True:
            self._grown.clear()
            # What has gathered since the last message is worth one, or fills one.
            waiting = self._log.durable_sequence - self.sequence
            pause = self._sent_at + self._settings.linger_ms / 1000 - time.monotonic()
            if pause > 0 and waiting * _RECORD_BYTES < size and not self._ending:
                await asyncio.sleep(pause)
            if self._reader is None:
                self._reader = self._log.reader(self.sequence)
            try:
                records = self._reader.read(size)
            except LogTrimmed as error:
                _log.error("records gone before a broker had them", oldest=error.oldest)
                self._close_reader()
                self._reader = self._log.reader(error.oldest)
                continue
            if records:
                for record in records:
                    self._trace.served(record)
                oldest, durable = self._log.oldest_sequence, self._log.durable_sequence
                payload = encode_batch(self._relay_id, oldest, durable, records)
                return records[0].sequence, records[-1].end, payload
            if self._ending:
                return None
            await self._grown.wait()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        with contextlib.suppress(OSError):
            # Unsaved, it costs records that are sent twice.
            self._position.save()
