"""Traces of blocks, as the YAML of a relay, an endpoint or a KME has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from .model import Model, allowed, between, is_loopback

__all__ = ["TraceSettings"]


def _otlp_url(value: Any) -> Any:
    error = allowed("https://HOST[:PORT]/PATH, or http:// on a loopback address")
    try:
        url = urlsplit(value) if isinstance(value, str) else None
        if url is None or url.scheme not in ("http", "https") or not url.hostname:
            raise error
        plain = url.scheme == "http" and not is_loopback(f"{url.hostname}:{url.port or 80}")
    except ValueError:
        raise error from None
    if plain or url.username is not None or not url.path.strip("/"):
        raise error
    return value


class TraceSettings(Model):
    """Traces of blocks, to a collector of OpenTelemetry; none: off."""

    otlp: Annotated[str, BeforeValidator(_otlp_url)] = Field(
        description="where spans go, OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`"
    )
    ca: Path | None = Field(
        default=None, description="who signs the collector's certificate, PEM; none: the system's"
    )
    certificate: Path | None = Field(
        default=None, description="our own certificate for the collector, PEM"
    )
    key: Path | None = Field(default=None, description="its private key, PEM")
    share: Annotated[float, between(0.0, 1.0)] = Field(
        default=1.0,
        description="share of the blocks that are traced; the same blocks at all parties that have "
        "the same share",
    )
    queue: Annotated[int, between(512, 1_000_000, "spans")] = Field(
        default=16384,
        description="spans kept for a collector that is away; beyond it the oldest are dropped and "
        "counted",
    )

    @model_validator(mode="after")
    def _both(self) -> TraceSettings:
        if (self.certificate is None) != (self.key is None):
            raise allowed("certificate and key together, or neither")
        return self
