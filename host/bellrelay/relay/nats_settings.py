"""A relay's broker, as its YAML has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bellrelay.settings.model import Model, between
from bellrelay.settings.nats import BrokerName, BrokerServers, broker_name

__all__ = ["NatsRetention", "NatsSettings"]


class NatsRetention(Model):
    """What the broker's stream is made with (`bellrelay nats stream`)."""

    mb: Annotated[int, between(1, 100_000_000, "MB")] = Field(
        default=4096, description="size of all messages; the oldest go first"
    )
    hours: Annotated[float, between(0.0, 87600.0, "h, 0 for ever")] = Field(
        default=168.0, description="age of the oldest message"
    )
    replicas: Literal[1, 3, 5] = Field(
        default=1, description="servers that have every message before it is acknowledged"
    )
    duplicates_s: Annotated[float, between(1.0, 3600.0, "s")] = Field(
        default=120.0, description="a message that is sent again within this is stored once"
    )


class NatsSettings(BrokerServers):
    """A NATS broker that gets the announcements too, for consumers that ask it."""

    stream: BrokerName | None = Field(
        default=None,
        description="the relay's own stream there; none: relay_id, with `_` for dots",
    )
    batch_kib: Annotated[int, between(4, 832, "KiB")] = Field(
        default=256, description="size of a message when much is announced"
    )
    linger_ms: Annotated[float, between(0.0, 1000.0, "ms")] = Field(
        default=20.0, description="time between messages that are not full"
    )
    retention: NatsRetention = NatsRetention()

    def stream_of(self, relay_id: str) -> str:
        """Name of this relay's stream; the broker's answers come under it, too."""
        return self.stream or broker_name(relay_id)
