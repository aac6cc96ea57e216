"""The `audit` section of a KME's YAML, and of a live view's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .model import Address, Model, allowed, between

__all__ = ["EXAMPLE_ENTERPRISE", "AuditSettings", "Forward", "ForwardTls"]

# The number that IANA sets aside for examples (RFC 5612); an organisation that has one of its own
# says so in the configuration.
EXAMPLE_ENTERPRISE = 32473


class ForwardTls(Model):
    """TLS towards a syslog server."""

    ca: Path = Field(description="who signs the server's certificate, PEM")
    certificate: Path | None = Field(default=None, description="our own certificate, PEM")
    key: Path | None = Field(default=None, description="its private key, PEM")

    @model_validator(mode="after")
    def _both_or_none(self) -> ForwardTls:
        if (self.certificate is None) != (self.key is None):
            raise allowed("certificate and key together, or neither")
        return self


class Forward(Model):
    """One syslog server that gets every record, as RFC 5424 has it."""

    name: str = Field(
        pattern=r"^[a-z0-9-]{1,32}$", description="name of this way; its position is kept by it"
    )
    transport: Literal["tls", "udp", "unix"] = Field(
        default="tls",
        description="`tls` as RFC 5425; `udp` as RFC 5426, where nobody knows what is lost; "
        "`unix` a datagram socket of this machine",
    )
    address: Address | None = Field(default=None, description="HOST:PORT; with `tls`, `udp`")
    path: Path | None = Field(default=None, description="the socket; with `unix`")
    tls: ForwardTls | None = Field(default=None, description="with `tls`")
    server_name: str | None = Field(
        default=None, description="name in its certificate; none: the host of address"
    )
    facility: Annotated[int, between(0, 23)] = Field(
        default=13, description="syslog facility; 13 is log audit"
    )
    enterprise: Annotated[int, between(1, (1 << 31) - 1)] = Field(
        default=EXAMPLE_ENTERPRISE,
        description="private enterprise number that marks our structured data; the default is "
        "the one for examples (RFC 5612)",
    )
    settle_s: Annotated[float, between(0.0, 600.0, "s")] = Field(
        default=5.0,
        description="a record counts as arrived once the server's machine has acknowledged it and "
        "the connection has lived for so long after; until then it would be sent again",
    )

    @model_validator(mode="after")
    def _way(self) -> Forward:
        if self.transport == "unix":
            if self.path is None or self.address is not None or self.tls is not None:
                raise allowed("unix needs path, and neither address nor tls")
        elif self.address is None or self.path is not None:
            raise allowed(f"{self.transport} needs address, and no path")
        if (self.transport == "tls") != (self.tls is not None):
            raise allowed("tls needs tls, and nothing else takes it")
        return self


class AuditSettings(Model):
    """The audit log: docs/reference/audit.md."""

    directory: Path = Field(description="its own directory; made if it is missing")
    segment_mb: Annotated[int, between(1, 256, "MB")] = Field(
        default=16, description="size of one file; none is ever deleted"
    )
    signing_key: Path | None = Field(
        default=None,
        description="Ed25519 key that signs checkpoints, PEM, mode 0600; none: no checkpoints, "
        "and a log that is cut short does not show it",
    )
    checkpoint_every_s: Annotated[float, between(1.0, 86400.0, "s")] = Field(
        default=60.0, description="a checkpoint at the latest so long after a record"
    )
    checkpoint_every_records: Annotated[int, between(1, 1_000_000)] = Field(
        default=1000, description="and after so many"
    )
    checkpoint_copies: tuple[Path, ...] = Field(
        default=(), description="files, on other machines best, that get every checkpoint too"
    )
    forward: tuple[Forward, ...] = Field(default=(), description="where records are sent")

    @model_validator(mode="after")
    def _names(self) -> AuditSettings:
        names = [forward.name for forward in self.forward]
        if len(set(names)) != len(names):
            raise allowed("ways to forward with names of their own")
        return self
