"""The part of a network's YAML that says what its computers are, and what is asked of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bellrelay.settings.model import Model, between

__all__ = ["Load"]

Count = Annotated[int, between(1, 10_000)]
Seconds = Annotated[float, between(0.0, 1e6, "s")]


class Load(Model):
    """Computers of a network, and what applications ask; `bellrelay network` reads it."""

    key_bits: Annotated[int, between(64, 65536, "bits")] = Field(
        default=256, description="of a key that an application asks for"
    )
    keys_per_request: Count = Field(default=1, description="keys in one request")
    requests: Literal["poisson", "bursts"] = Field(
        default="poisson", description="one by one, or a pair's all at once every burst_s"
    )
    burst_s: Annotated[float, between(1.0, 86400.0, "s")] = Field(
        default=60.0, description="from one burst of a pair to its next"
    )
    stored_s: Seconds = Field(
        default=600.0, description="of its demand that a pair has in store at the start"
    )
    announcements: Literal["stream", "broker"] = Field(
        default="stream", description="the relay serves every consumer, or a broker does"
    )
    batch_s: Annotated[float, between(0.001, 60.0, "s")] = Field(
        default=0.02,
        description="announcements of so long a time leave a relay together: nats.linger_ms",
    )
    relay_cores: Count = Field(default=2, description="of a relay's computer")
    site_cores: Count = Field(default=4, description="of a site's computers together")
    workers: Annotated[int, between(1, 256)] = Field(
        default=2, description="threads of an endpoint that compute blocks: its `workers`"
    )
    in_flight: Annotated[int, between(1, 64)] = Field(
        default=16, description="blocks of a pair in work at once: `block.max_in_flight`"
    )
    stores: Annotated[int, between(1, 64)] = Field(
        default=1, description="KMEs of a pair at each of its sites, each with a store of its own"
    )
    peer_rtt_s: Annotated[float, between(0.0, 10.0, "s")] = Field(
        default=0.002, description="round trip between two sites"
    )
    broker_nodes: Count = Field(default=3, description="of the broker's cluster")
    broker_replicas: Annotated[int, between(1, 5)] = Field(
        default=3, description="nodes that write each message down"
    )
    silence_s: Seconds = Field(
        default=3.0, description="after so long a lost relay is gone from: relay_choice.silence_s"
    )
