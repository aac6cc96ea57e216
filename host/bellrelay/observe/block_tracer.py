"""The spans of one party: made after the fact, of times that are known, below the block's trace."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode
from prometheus_client.core import Metric

from bellrelay.settings.traces import TraceSettings

from .block_spans import BlockName, attributes_of
from .span_export import SpanQueue, otlp_exporter

__all__ = ["BlockTracer", "block_tracer"]


class _BlockIds(IdGenerator):
    """Random span ids; of a block's first span, those that all parties know."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._random = random.SystemRandom()

    @contextlib.contextmanager
    def root_of(self, block: BlockName) -> Iterator[None]:
        self._own.block = block
        try:
            yield
        finally:
            self._own.block = None

    def generate_trace_id(self) -> int:
        block: BlockName | None = getattr(self._own, "block", None)
        return self._random.getrandbits(128) or 1 if block is None else block.trace_id

    def generate_span_id(self) -> int:
        block: BlockName | None = getattr(self._own, "block", None)
        return self._random.getrandbits(64) or 1 if block is None else block.root_id


class BlockTracer:
    """Makes the spans of one party. Any thread.

    Parameters
    ----------
    service, instance
        Which daemon it is: ``bellrelay-relay`` and its relay ID, for example.

    Attributes
    ----------
    queue : SpanQueue
    """

    def __init__(
        self, settings: TraceSettings, service: str, instance: str, exporter: SpanExporter
    ) -> None:
        self.queue = SpanQueue(exporter, settings.queue)
        self._share = settings.share
        self._ids = _BlockIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service, "service.instance.id": instance}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(self.queue)
        self._tracer = self._provider.get_tracer("bellrelay")

    def traced(self, block: BlockName) -> bool:
        """Whether this block is one of those that are."""
        return block.in_share(self._share)

    def span(
        self,
        block: BlockName,
        name: str,
        begun_ns: int,
        ended_ns: int,
        facts: Mapping[str, Any],
        fault: str | None = None,
    ) -> None:
        """A span that has ended.

        Parameters
        ----------
        name
            Of :data:`.block_spans.SPANS`; what of ``facts`` may be said stands there.
        fault
            Why it did not end well.
        """
        if not self.traced(block):
            return
        attributes = {**block.attributes, **attributes_of(name, facts)}
        if name == "block":
            with self._ids.root_of(block):
                span = self._tracer.start_span(
                    name, Context(), attributes=attributes, start_time=begun_ns
                )
        else:
            root = SpanContext(block.trace_id, block.root_id, True, TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(root), Context())
            span = self._tracer.start_span(
                name, context, attributes=attributes, start_time=begun_ns
            )
        if fault is not None:
            span.set_status(Status(StatusCode.ERROR, fault))
        # Another machine's clock, or one that was set back, makes no span of negative length.
        span.end(max(begun_ns, ended_ns))

    def metrics(self) -> Iterator[Metric]:
        """How tracing itself does."""
        return self.queue.metrics()

    def close(self) -> None:
        """Send what is left, in a few seconds at most."""
        self._provider.shutdown()


def block_tracer(settings: TraceSettings, service: str, instance: str) -> BlockTracer:
    """To the collector of these settings."""
    return BlockTracer(settings, service, instance, otlp_exporter(settings))
