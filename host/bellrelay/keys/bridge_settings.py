"""The `bridges` section of a KME's YAML: key managers that get the key of an SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from bellrelay.settings.model import Address, Model, MutualTls, allowed, between

__all__ = ["BridgeSettings", "HttpsTarget", "HttpsTls", "KmipTarget"]


def _https_url(value: Any) -> Any:
    error = allowed("https://HOST[:PORT][/PATH], without user, query and fragment")
    if not isinstance(value, str):
        raise error
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise error
    if parts.username is not None or parts.password is not None:
        raise error
    return value.rstrip("/")


def _path(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("/") or "{key_id}" not in value:
        raise allowed("a path that begins with / and holds {key_id}, and {tenant} if it is to")
    try:
        value.format(tenant="t", key_id="k")
    except (KeyError, IndexError, ValueError):
        raise allowed("a path with {tenant} and {key_id} alone") from None
    return value


HttpsUrl = Annotated[str, BeforeValidator(_https_url)]


class KmipTarget(Model):
    """A KMIP server, spoken with as KMIP 1.4 over mutual TLS."""

    address: Address = Field(description="HOST:PORT; the usual port is 5696")
    tls: MutualTls = Field(description="our certificate decides whose keys they are there")
    server_name: str | None = Field(
        default=None, description="name in its certificate; none: the host of address"
    )
    name_prefix: str = Field(
        default="bellrelay-",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="the object's Name is this and the key_ID",
    )
    activate: bool = Field(default=True, description="whether keys are activated as they come")


class HttpsTls(Model):
    """TLS towards a key manager."""

    ca: Path = Field(description="who signs its certificate, PEM")
    certificate: Path | None = Field(default=None, description="our own certificate, PEM")
    key: Path | None = Field(default=None, description="its private key, PEM")

    @model_validator(mode="after")
    def _both_or_none(self) -> HttpsTls:
        if (self.certificate is None) != (self.key is None):
            raise allowed("certificate and key together, or neither")
        return self


class HttpsTarget(Model):
    """A key manager with an entry per tenant and key, put there over HTTPS."""

    url: HttpsUrl = Field(description="where its interface begins")
    tls: HttpsTls = Field(description="always TLS")
    tenant: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="whose entries they are")
    path: Annotated[str, BeforeValidator(_path)] = Field(
        default="/tenants/{tenant}/keys/{key_id}", description="of an entry, below url"
    )
    token_file: Path | None = Field(
        default=None, description="file of mode 0600 with a bearer token"
    )

    @model_validator(mode="after")
    def _credentials(self) -> HttpsTarget:
        if self.tls.certificate is None and self.token_file is None:
            raise allowed("a certificate in tls, or token_file, or both: somebody has to know us")
        return self


class BridgeSettings(Model):
    """A key manager that gets all key of one SAE of this KME as it comes in."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$", description="name of the bridge")
    sae: str = Field(
        min_length=1, max_length=256, description="SAE ID of a pair, which stands for the manager"
    )
    kmip: KmipTarget | None = Field(default=None, description="a KMIP server")
    https: HttpsTarget | None = Field(default=None, description="or a key manager over HTTPS")
    key_size: Annotated[int, between(64, 65536, "bits")] = Field(
        default=256, description="size of a key, a multiple of 8"
    )
    push: Literal["kme", "function"] = Field(
        default="kme",
        description="`kme`: this KME pushes; `function`: it fills the backlog, and "
        "bellrelay.keys.bridge_function.handle or `bellrelay keys push` empties it",
    )
    poll_s: Annotated[float, between(0.05, 3600.0, "s")] = Field(
        default=1.0, description="how often to look for new key"
    )
    settle_s: Annotated[float, between(0.0, 3600.0, "s")] = Field(
        default=10.0,
        description="key that the other KME has set aside is taken after so long, during which it "
        "could be asked: by then its own manager has it, or it was withdrawn",
    )
    batch: Annotated[int, between(1, 1000)] = Field(default=64, description="keys in one step")
    max_waiting: Annotated[int, between(1, 10_000_000)] = Field(
        default=10_000,
        description="keys in the backlog; beyond it key stays in the store until the manager is "
        "back",
    )
    retry_s: Annotated[float, between(0.01, 3600.0, "s")] = Field(
        default=1.0, description="wait after the first failure; it doubles with each"
    )
    max_retry_s: Annotated[float, between(0.01, 86400.0, "s")] = Field(
        default=300.0, description="longest wait"
    )
    timeout_s: Annotated[float, between(0.1, 600.0, "s")] = Field(
        default=10.0, description="wait for the manager's answer"
    )

    @model_validator(mode="after")
    def _one_target(self) -> BridgeSettings:
        if (self.kmip is None) == (self.https is None):
            raise allowed("either kmip or https")
        if self.key_size % 8:
            raise allowed("a key_size that is a multiple of 8")
        return self
