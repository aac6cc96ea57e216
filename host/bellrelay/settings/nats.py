"""A NATS broker, as configuration files have it: where it is, and how it knows us."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from .model import Address, Model, MutualTls, allowed, is_loopback

__all__ = ["BrokerName", "BrokerServers", "broker_name"]

BrokerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Of a stream or a consumer: a dot would part subjects."""


def broker_name(name: str) -> str:
    """The name of a relay or an endpoint, as a broker may have it."""
    return name.replace(".", "_")


class BrokerServers(Model):
    """The servers of a NATS broker, and how we are known there."""

    servers: tuple[Address, ...] = Field(
        min_length=1, max_length=16, description="HOST:PORT of each; whichever answers is used"
    )
    tls: MutualTls | None = Field(
        default=None, description="needed unless plain; the broker knows us by the certificate"
    )
    plain: bool = Field(default=False, description="no TLS: to loopback addresses only")

    @model_validator(mode="after")
    def _protected(self) -> BrokerServers:
        if self.plain == (self.tls is not None):
            raise allowed("tls, or plain: true to loopback addresses")
        if self.plain and not all(map(is_loopback, self.servers)):
            raise allowed("plain connects to loopback addresses only")
        return self
