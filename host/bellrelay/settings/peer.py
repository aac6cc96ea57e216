"""The connection between the two sites, as configuration files have it."""

from __future__ import annotations

from pydantic import Field, model_validator

from .model import Address, Model, MutualTls, allowed

__all__ = ["PeerSettings"]


class PeerSettings(Model):
    """The channel between the two sides: always TLS, both with certificates."""

    listen: Address | None = Field(default=None, description="HOST:PORT; one side listens")
    connect: Address | None = Field(default=None, description="HOST:PORT; the other connects")
    name: str = Field(min_length=1, max_length=253, description="name in the peer's certificate")
    tls: MutualTls

    @model_validator(mode="after")
    def _one_way(self) -> PeerSettings:
        if (self.listen is None) == (self.connect is None):
            raise allowed("either listen or connect")
        return self
