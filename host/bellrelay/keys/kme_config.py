"""Configuration of a KME: what its YAML may say."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from bellrelay.settings.audit import AuditSettings
from bellrelay.settings.load import check, load
from bellrelay.settings.model import (
    Address,
    FileModel,
    Health,
    Model,
    MutualTls,
    Name,
    allowed,
    between,
    is_loopback,
)
from bellrelay.settings.peer import PeerSettings
from bellrelay.settings.traces import TraceSettings

from .bridge_settings import BridgeSettings
from .cutting import units_needed
from .etsi014_requests import Limits
from .pairs import Pair, Pairs

__all__ = [
    "DatabaseSettings",
    "DeliverySettings",
    "IdentitySettings",
    "IntakeSettings",
    "KekSettings",
    "KekSource",
    "KmeConfig",
    "KmePeerSettings",
    "LifetimeSettings",
    "PairSettings",
    "Pkcs11Settings",
    "RateSettings",
    "SaeTls",
    "check_kme_config",
    "load_kme_config",
]

_MOST_UNITS = 65536
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def _sae_id(value: Any) -> Any:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise allowed("SAE IDs of 1 to 256 printable characters")
    return value


SaeId = Annotated[str, BeforeValidator(_sae_id)]


def _whole_bytes(low: int, high: int) -> BeforeValidator:
    def check_bits(value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high or value % 8:
            raise allowed(f"{low} to {high} bits, a multiple of 8")
        return value

    return BeforeValidator(check_bits)


KeyBits = Annotated[int, _whole_bytes(8, 1 << 20)]
UnitBits = Annotated[int, _whole_bytes(64, 1 << 16)]


class SaeTls(MutualTls):
    """Mutual TLS towards SAEs."""

    crl: Path | None = Field(
        default=None,
        description="revocation list of ca, PEM; looked at for every connection and request, read "
        "again as it changes; one that is out of date lets nobody in. none: nothing is revoked",
    )
    crl_poll_s: Annotated[float, between(0.1, 3600.0, "s")] = Field(
        default=5.0, description="how often to look whether crl has changed"
    )
    minimum: Literal["1.2", "1.3"] = Field(
        default="1.2", description="lowest version of TLS; the standard allows 1.2"
    )

    @property
    def minimum_version(self) -> ssl.TLSVersion:
        """As :mod:`ssl` names it."""
        return _VERSIONS[self.minimum]


class IdentitySettings(Model):
    """Where a client certificate has the SAE ID."""

    source: Literal["common-name", "uri"] = Field(
        default="common-name",
        description="`common-name` of the subject, or the alternative name that is a `uri`",
    )
    uri_prefix: str = Field(
        default="", description="with `uri`: what it begins with, and the SAE ID does not"
    )


class KmePeerSettings(PeerSettings):
    """The other KME. Always TLS 1.3, both with certificates."""

    kme_id: Name = Field(description="its kme_id")


class PairSettings(Model):
    """Two SAEs, one at each KME, that share key of their own; both files have the same."""

    name: Name = Field(description="for people, metrics and the audit log")
    saes: Mapping[str, SaeId] = Field(description="SAE ID by kme_id, of both KMEs")
    share: Annotated[int, between(1, 1000)] = Field(
        default=1, description="weight of its part of all key"
    )


class DeliverySettings(Model):
    """What an SAE may ask for."""

    key_size: KeyBits | None = Field(
        default=None, description="size of a key if none is asked for; none: unit_bits"
    )
    min_key_size: KeyBits = Field(default=64, description="smallest key")
    max_key_size: KeyBits = Field(default=4096, description="largest key")
    max_key_count: Annotated[int, between(1, 1_000_000_000)] = Field(
        default=1_000_000, description="most keys that Status speaks of; more are not counted"
    )
    max_key_per_request: Annotated[int, between(1, 1024)] = Field(
        default=128, description="keys in one request"
    )
    max_additional_saes: Annotated[int, between(0, 64)] = Field(
        default=8, description="additional slave SAEs of a request; 0: none"
    )
    max_wait_s: Annotated[float, between(0.0, 600.0, "s")] = Field(
        default=60.0, description="longest wait by `bellrelay_wait_s`"
    )


class RateSettings(Model):
    """What one SAE may take of the server, whatever the others do."""

    requests_per_s: Annotated[float, between(0.1, 100_000.0, "1/s")] = Field(
        default=200.0, description="requests in the long run; more get 503 with Retry-After"
    )
    burst: Annotated[int, between(1, 1_000_000)] = Field(
        default=1000, description="requests at once after a rest"
    )
    open_requests: Annotated[int, between(1, 100_000)] = Field(
        default=1024, description="requests that are being answered, waits among them"
    )
    connections: Annotated[int, between(1, 100_000)] = Field(
        default=1024, description="connections at once; more are closed"
    )


class DatabaseSettings(Model):
    """Where keys are kept, sealed."""

    directory: Path | None = Field(
        default=None, description="its own directory, for SQLite; made if it is missing"
    )
    url: str | None = Field(
        default=None,
        repr=False,
        description="instead: `postgresql+psycopg://USER@HOST/DATABASE`; the password comes from "
        "PGPASSFILE or a socket, not from here",
    )

    @model_validator(mode="after")
    def _one(self) -> DatabaseSettings:
        if (self.directory is None) == (self.url is None):
            raise allowed("either directory or url")
        return self


class Pkcs11Settings(Model):
    """A KEK in an HSM."""

    module: Path = Field(description="the vendor's PKCS#11 library")
    token: str = Field(min_length=1, description="label of the token")
    key: str = Field(min_length=1, description="label of the AES key in it")
    pin_file: Path = Field(description="file of mode 0600 with the user PIN")


class KekSource(Model):
    """A KEK: in a file, for the lab, or in an HSM."""

    file: Path | None = Field(default=None, description="32 random bytes, mode 0600")
    pkcs11: Pkcs11Settings | None = Field(default=None, description="instead of file: an HSM")

    @model_validator(mode="after")
    def _one(self) -> KekSource:
        if (self.file is None) == (self.pkcs11 is None):
            raise allowed("either file or pkcs11")
        return self


class KekSettings(KekSource):
    """The key-encryption key (KEK) under which every key is sealed at rest."""

    previous: tuple[KekSource, ...] = Field(
        default=(), description="those before it, until everything was sealed anew"
    )
    max_age_s: Annotated[float, between(3600.0, 1e9, "s")] | None = Field(
        default=None, description="time after which another KEK is due: an alarm"
    )


class IntakeSettings(Model):
    """Where finished keys come from: the endpoint's store on this machine."""

    directory: Path = Field(description="`store.directory` of the endpoint")
    endpoint_id: Name = Field(description="its `endpoint_id`")
    relay: Name = Field(description="its `relay.id`, for the record")
    poll_s: Annotated[float, between(0.05, 600.0, "s")] = Field(
        default=1.0, description="how often to look for new ones"
    )


class LifetimeSettings(Model):
    """How long keys live."""

    max_age_s: Annotated[float, between(60.0, 1e9, "s")] | None = Field(
        default=None, description="key is not given out, and is wiped, so long after it was made"
    )
    margin_s: Annotated[float, between(0.0, 86400.0, "s")] = Field(
        default=60.0,
        description="so much before max_age_s it is not given out any more: the other clock may "
        "be ahead",
    )
    fetch_within_s: Annotated[float, between(10.0, 1e8, "s")] = Field(
        default=86400.0, description="what a slave has not fetched so long after is wiped"
    )
    newest_first: bool = Field(
        default=False, description="`true`: the newest key is given out first, not the oldest"
    )
    keep_s: Annotated[float, between(60.0, 1e9, "s")] = Field(
        default=30 * 86400.0, description="how long the names of used keys are remembered"
    )
    low_water: Annotated[int, between(0, 1_000_000_000)] = Field(
        default=100, description="units left for a pair below which it is an alarm; 0: never"
    )


class KmeConfig(FileModel):
    """Everything that a KME's YAML says."""

    kme_id: Name = Field(description="name of this KME, the KME ID of the standard")
    listen: Address = Field(description="HOST:PORT of the key delivery API, HTTPS")
    tls: SaeTls
    identity: IdentitySettings = IdentitySettings()
    peer: KmePeerSettings
    pairs: tuple[PairSettings, ...] = Field(
        min_length=1, description="SAEs that share key; the same in both KMEs' files"
    )
    groups: tuple[tuple[SaeId, ...], ...] = Field(
        default=(),
        description="SAEs among which a master may name additional slaves, beyond those that it "
        "has a pair with; the same in both files",
    )
    unit_bits: UnitBits = Field(
        default=256,
        description="keys are made of units of so many bits; the same in both files, for ever",
    )
    delivery: DeliverySettings = DeliverySettings()
    limits: RateSettings = RateSettings()
    keys: LifetimeSettings = LifetimeSettings()
    store: DatabaseSettings
    kek: KekSettings
    intake: IntakeSettings | None = Field(
        default=None, description="where finished keys come from; none: no new ones"
    )
    audit: AuditSettings
    bridges: tuple[BridgeSettings, ...] = Field(
        default=(), description="key managers that get the key of an SAE"
    )
    health: Health = Health()
    traces: TraceSettings | None = None

    def etsi_limits(self) -> Limits:
        """What an SAE may ask for."""
        d = self.delivery
        return Limits(
            d.key_size or self.unit_bits,
            d.min_key_size,
            d.max_key_size,
            d.max_key_per_request,
            d.max_additional_saes,
            d.max_wait_s,
        )

    def key_pairs(self) -> Pairs:
        """Who shares key with whom. ValueError: that contradicts itself."""
        first, second = sorted((self.kme_id, self.peer.kme_id))
        pairs = []
        for each in self.pairs:
            if set(each.saes) != {first, second}:
                raise ValueError(f"{each.name}: one SAE at {first} and one at {second}")
            pairs.append(Pair(each.name, each.saes[first], each.saes[second], each.share))
        return Pairs((first, second), pairs, self.groups)

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        try:
            self.key_pairs()
        except ValueError as error:
            out.append(("pairs", [pair.name for pair in self.pairs], str(error)))
        limits = self.etsi_limits()
        if not limits.min_key_size <= limits.key_size <= limits.max_key_size:
            out.append(
                ("delivery.key_size", limits.key_size, "between min_key_size and max_key_size")
            )
        units = limits.max_key_per_request * units_needed(limits.max_key_size, self.unit_bits)
        if units > _MOST_UNITS:
            out.append(
                (
                    "delivery.max_key_per_request",
                    limits.max_key_per_request,
                    f"together with max_key_size at most {_MOST_UNITS} units of unit_bits",
                )
            )
        if self.health.listen is not None and not is_loopback(self.health.listen):
            out.append(
                (
                    "health.listen",
                    self.health.listen,
                    "a loopback address: it asks nobody for a certificate",
                )
            )
        here = {pair.saes.get(self.kme_id) for pair in self.pairs}
        for bridge in self.bridges:
            if bridge.sae not in here:
                key = f"bridges.{bridge.name}.sae"
                out.append((key, bridge.sae, f"an SAE of {self.kme_id} in pairs"))
            if units_needed(bridge.key_size, self.unit_bits) > _MOST_UNITS // bridge.batch:
                out.append(
                    (
                        f"bridges.{bridge.name}.batch",
                        bridge.batch,
                        f"together with key_size at most {_MOST_UNITS} units of unit_bits",
                    )
                )
        names = [bridge.name for bridge in self.bridges]
        if len(set(names)) < len(names):
            out.append(("bridges", names, "bridges with names of their own"))
        saes = [bridge.sae for bridge in self.bridges]
        if len(set(saes)) < len(saes):
            out.append(("bridges", saes, "bridges with SAEs of their own"))
        return out


def check_kme_config(values: object, origin: str = "configuration") -> KmeConfig:
    """A configuration from what the YAML gave.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    return check(KmeConfig, values, origin)


def load_kme_config(path: Path) -> KmeConfig:
    """Read a KME's YAML.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(KmeConfig, path)
