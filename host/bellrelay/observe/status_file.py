"""The YAML that says whom `bellrelay status` asks."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema

from bellrelay.settings.load import check, load, read_values
from bellrelay.settings.model import ConfigError, FileModel, Model, Name, allowed, between
from bellrelay.settings.model import is_loopback as _is_loopback

__all__ = [
    "Kind",
    "PrometheusAddress",
    "StatusFile",
    "daemon_of",
    "health_url",
    "is_cluster",
    "load_status_files",
    "trust",
]

_LOCAL = re.compile(r"^(localhost|127(\.\d{1,3}){3}|::1)$")


class Kind(StrEnum):
    """Of a daemon."""

    RELAY = "relay"
    ENDPOINT = "endpoint"
    KME = "kme"


_ID_OF = {"relay_id": Kind.RELAY, "endpoint_id": Kind.ENDPOINT, "kme_id": Kind.KME}
_GROUP_OF = {Kind.RELAY: "relays", Kind.ENDPOINT: "endpoints", Kind.KME: "kmes"}


def _url(value: Any) -> Any:
    error = allowed("http://HOST:PORT or https://HOST:PORT, without / at its end")
    if not isinstance(value, str) or value.endswith("/"):
        raise error
    try:
        parts = urlsplit(value)
        there = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise error from None
    if parts.scheme not in ("http", "https") or not there or parts.query or parts.fragment:
        raise error
    return value


Url = Annotated[str, BeforeValidator(_url), WithJsonSchema({"type": "string"})]


class PrometheusAddress(Model):
    """The Prometheus that scrapes the daemons, by the rules of the SLO file."""

    url: Url = Field(description="of its HTTP API")
    ca: Path | None = Field(
        default=None, description="who signs its certificate, PEM; none: as this machine trusts"
    )


class StatusFile(FileModel):
    """Everything that the status file says."""

    relays: dict[Name, Url] = Field(default={}, description="by id: address of its /health")
    endpoints: dict[Name, Url] = Field(default={}, description="by id: address of its /health")
    kmes: dict[Name, Url] = Field(default={}, description="by id: address of its /health")
    ca: Path | None = Field(
        default=None,
        description="who signs certificates of https addresses, PEM; none: as this machine trusts",
    )
    plain_http: bool = Field(
        default=False, description="whether other machines may be asked without TLS"
    )
    timeout_s: Annotated[float, between(0.1, 60.0, "s")] = Field(
        default=3.0, description="for an answer; who takes longer counts as unreachable"
    )
    prometheus: PrometheusAddress | None = None
    slo: Path | None = Field(default=None, description="the SLO file, for --slo and --report")
    calibrations: dict[Name, Path] = Field(
        default={}, description="by relay: its calibration.directory, for --report"
    )

    def daemons(self) -> list[tuple[Kind, str, str]]:
        """Kind, id and address of everybody, relays first."""
        groups = ((kind, getattr(self, group)) for kind, group in _GROUP_OF.items())
        return [(kind, name, url) for kind, group in groups for name, url in group.items()]

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        if self.plain_http:
            return []
        wanted = "https, a host that is this machine, or plain_http: true"
        named = [(f"{_GROUP_OF[kind]}.{name}", url) for kind, name, url in self.daemons()]
        if self.prometheus is not None:
            named.append(("prometheus.url", self.prometheus.url))
        return [(key, url, wanted) for key, url in named if not _is_safe(url)]


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or bool(_LOCAL.match(parts.hostname or ""))


def load_status_files(paths: Sequence[Path]) -> StatusFile:
    """One file of several: status files, and those of daemons, which say where they are asked.

    Raises
    ------
    ConfigError
        One is missing, no YAML, or wrong; a daemon's names no health address; two differ.
    """
    if len(paths) == 1 and daemon_of(paths[0]) is None:
        return load(StatusFile, paths[0])
    values: dict[str, Any] = {}
    for path in paths:
        for key, value in _values_of(path).items():
            if isinstance(value, dict) and key != "prometheus":
                values.setdefault(key, {}).update(value)
            elif values.setdefault(key, value) != value:
                raise ConfigError([f"{path}: {key}: {value!r}; allowed: as in the file before"])
    return check(StatusFile, values, ", ".join(map(str, paths)))


def daemon_of(path: Path) -> tuple[Kind, str] | None:
    """Whose own file this is; None if it is a status file."""
    values = read_values(path)
    return next(((kind, str(values[key])) for key, kind in _ID_OF.items() if key in values), None)


def is_cluster(values: Mapping[str, Any]) -> bool:
    """Whether keys and values of a file are those of an endpoint's cluster, named by its id."""
    return "endpoint_id" in values and "scheduler" in values


def _values_of(path: Path) -> dict[str, Any]:
    daemon = daemon_of(path)
    if daemon is None:
        return load(StatusFile, path).model_dump(exclude_unset=True)
    kind, name = daemon
    values = read_values(path)
    if is_cluster(values):
        raise ConfigError([f"{path}: the whole file: a cluster's; allowed: that of its endpoint"])
    # The rest of it is the daemon's business.
    health = values.get("health")
    listen = health.get("listen") if isinstance(health, dict) else None
    host, _, port = str(listen or "").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError([f"{path}: health.listen: {listen!r}; allowed: HOST:PORT, to be asked"])
    url = health_url(str(listen))
    own = {_GROUP_OF[kind]: {name: url}}
    if not _is_loopback(url.removeprefix("http://")):
        own |= {"plain_http": True}  # type: ignore[dict-item]
    return own


def health_url(listen: str) -> str:
    """Where a daemon with this ``health.listen`` is asked; who listens everywhere, at home."""
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{host}:{port}"


def trust(ca: Path | None, key: str, file: StatusFile) -> ssl.SSLContext | None:
    """The context of who is asked over https; None: as this machine trusts.

    Raises
    ------
    ConfigError
        The file cannot be used.
    """
    if ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split())
        raise file.error(key, str(ca), f"certificates, PEM ({reason})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
