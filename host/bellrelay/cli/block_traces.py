"""What daemons tell their steps to, by their configuration: nothing, or traces of blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bellrelay.endpoint.block_trace import BlockTrace
    from bellrelay.endpoint.config import EndpointConfig
    from bellrelay.keys.key_trace import KeyTrace
    from bellrelay.keys.kme_config import KmeConfig
    from bellrelay.observe.block_tracer import BlockTracer
    from bellrelay.relay.block_trace import RelayTrace
    from bellrelay.relay.config import RelayConfig

__all__ = ["endpoint_trace", "kme_trace", "relay_trace"]


@contextlib.contextmanager
def relay_trace(config: RelayConfig) -> Iterator[RelayTrace | None]:
    """While the relay runs; what is left is sent afterwards. ConfigError, ModuleNotFoundError."""
    if config.traces is None:
        yield None
        return
    from bellrelay.observe.relay_traces import RelayTraces

    with _tracer(config, "bellrelay-relay", config.relay_id) as tracer:
        yield RelayTraces(tracer, config.relay_id, config.traces.block_slots)


@contextlib.contextmanager
def endpoint_trace(config: EndpointConfig) -> Iterator[BlockTrace | None]:
    """While the endpoint runs; as :func:`relay_trace`."""
    if config.traces is None:
        yield None
        return
    from bellrelay.observe.endpoint_traces import EndpointTraces

    with _tracer(config, "bellrelay-endpoint", config.endpoint_id) as tracer:
        yield EndpointTraces(tracer, config.role, [relay.id for relay in config.relays])


@contextlib.contextmanager
def kme_trace(config: KmeConfig) -> Iterator[KeyTrace | None]:
    """While the KME runs; as :func:`relay_trace`."""
    if config.traces is None:
        yield None
        return
    from bellrelay.observe.kme_traces import KmeTraces

    with _tracer(config, "bellrelay-kme", config.kme_id) as tracer:
        yield KmeTraces(tracer)


@contextlib.contextmanager
def _tracer(
    config: RelayConfig | EndpointConfig | KmeConfig, service: str, instance: str
) -> Iterator[BlockTracer]:
    from bellrelay.observe.block_tracer import block_tracer

    settings = config.traces
    assert settings is not None
    for key in ("ca", "certificate", "key"):
        path = getattr(settings, key)
        try:
            if path is not None:
                path.read_bytes()
        except OSError as error:
            allowed = f"a PEM file that can be read ({error.strerror})"
            raise config.error(f"traces.{key}", str(path), allowed) from None
    tracer = block_tracer(settings, service, instance)
    try:
        yield tracer
    finally:
        tracer.close()
