"""Spans on their way to a collector: a bounded queue, a thread of its own, and what was lost.

Who ends a span puts it into the queue and goes on. The thread sends what has gathered; while the
collector is away, spans stay, and of too many the oldest are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.settings.traces import TraceSettings

__all__ = ["SpanQueue", "otlp_exporter"]

_BATCH = 512
_EVERY_S = 1.0
_RETRY_S = 2.0
_SEND_S = 4.0
_LAST_WORDS_S = 3.0
_log = structlog.get_logger(__name__)


def otlp_exporter(settings: TraceSettings) -> SpanExporter:
    """What sends to the collector of these settings."""
    # Its own words about a collector that is away, once for every try, are ours once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    paths = (settings.ca, settings.key, settings.certificate)
    ca, key, certificate = (None if path is None else str(path) for path in paths)
    return OTLPSpanExporter(
        settings.otlp,
        certificate_file=ca,
        client_key_file=key,
        client_certificate_file=certificate,
        timeout=_SEND_S,
    )


class SpanQueue(SpanProcessor):
    """Takes ended spans.

    Attributes
    ----------
    sent, dropped : int
        Spans since the start.
    """

    def __init__(self, exporter: SpanExporter, most: int) -> None:
        self.sent = self.dropped = 0
        self._exporter = exporter
        self._queue: deque[ReadableSpan] = deque()
        self._most = most
        self._under_way = 0
        self._changed = threading.Condition()
        self._closing = False
        self._away = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take it; never waits for more than another one that does the same."""
        with self._changed:
            self._queue.append(span)
            self._make_room()
            if len(self._queue) == _BATCH:
                self._changed.notify()

    def drop(self, spans: int) -> None:
        """Spans that were not even made."""
        with self._changed:
            self.dropped += spans

    def _make_room(self) -> None:
        while len(self._queue) + self._under_way > self._most and self._queue:
            self._queue.popleft()
            self.dropped += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._closing and len(self._queue) < _BATCH:
                    self._changed.wait(_EVERY_S)
                last = self._closing
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                self._under_way = len(batch)
            sent = not batch or self._send(batch)
            with self._changed:
                self._under_way = 0
                if sent:
                    self.sent += len(batch)
                else:
                    self._queue.extendleft(reversed(batch))
                    self._make_room()
                if last and not (sent and self._queue):
                    return
                if not sent:
                    self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _send(self, batch: list[ReadableSpan]) -> bool:
        try:
            sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            # Whatever it is, the daemon that is traced goes on.
            _log.warning("spans not sent", error=type(error).__name__)
            sent = False
        if sent is self._away:
            self._away = not sent
            if self._away:
                _log.warning("the collector of traces takes no spans")
            else:
                _log.info("the collector of traces takes spans again", dropped=self.dropped)
        return sent

    def shutdown(self) -> None:
        """Send what is left, but wait for no collector that is away."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LAST_WORDS_S)
        self._exporter.shutdown()
        if self._queue:
            _log.warning("spans were left", spans=len(self._queue))

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until the queue is empty."""
        end = time.monotonic() + timeout_millis / 1000
        while time.monotonic() < end:
            with self._changed:
                if not self._queue and not self._under_way:
                    return True
                self._changed.notify()
            time.sleep(0.01)
        return False

    def metrics(self) -> Iterator[Metric]:
        """Of the queue."""
        yield CounterMetricFamily(
            "bellrelay_trace_spans_sent", "spans that the collector took", value=self.sent
        )
        yield CounterMetricFamily(
            "bellrelay_trace_spans_dropped",
            "spans for which there was no room while the collector was away",
            value=self.dropped,
        )
        yield GaugeMetricFamily(
            "bellrelay_trace_spans_waiting", "spans for the collector", value=len(self._queue)
        )
