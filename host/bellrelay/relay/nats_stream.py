"""The stream that a relay publishes to, made by who administers the broker: no relay may."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bellrelay.service.nats_connection import Broker, BrokerUnavailable, broker_context
from bellrelay.settings.nats import BrokerServers

from .nats_batch import subject_of
from .nats_permissions import ADMINISTRATOR
from .nats_settings import NatsRetention

__all__ = ["make_stream"]

_API_S = 10.0
_PEERS_S = 10.0


async def make_stream(servers: BrokerServers, stream: str, retention: NatsRetention) -> Any:
    """Make the stream, or give the one that is there this retention; its state.

    Parameters
    ----------
    servers
        With an administrator's certificate.

    Raises
    ------
    BrokerUnavailable
        The broker does not answer, or refuses, or has fewer servers than replicas are wanted: a
        single server takes any number of them for granted.
    OSError
        A certificate or key that cannot be read.
    """
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import NotFoundError

    config = StreamConfig(
        name=stream,
        subjects=[subject_of(stream)],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        max_bytes=retention.mb << 20,
        max_age=retention.hours * 3600.0,
        num_replicas=retention.replicas,
        duplicate_window=min(retention.duplicates_s, retention.hours * 3600.0 or 1e9),
        deny_delete=True,
    )
    broker = await Broker.connect(servers, broker_context(servers), ADMINISTRATOR)
    try:
        js = broker.client.jsm(timeout=_API_S)
        with broker.faults(f"stream {stream}"):
            try:
                await js.stream_info(stream)
            except NotFoundError:
                await js.add_stream(config)
            else:
                await js.update_stream(config)
            until = time.monotonic() + _PEERS_S
            while True:
                state = await js.stream_info(stream)
                others = [] if state.cluster is None else state.cluster.replicas or []
                if len(others) + 1 >= retention.replicas:
                    return state
                if time.monotonic() > until:
                    few = f"{retention.replicas} replicas wanted, {len(others) + 1} servers have it"
                    raise BrokerUnavailable(few)
                await asyncio.sleep(0.2)
    finally:
        await broker.close()
