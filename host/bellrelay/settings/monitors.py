"""The `monitors` section of a relay's or an endpoint's YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .model import Address, Model, MutualTls, Name, allowed, between, is_loopback

__all__ = ["KINDS", "QUANTITIES", "MonitorKind", "MonitorSettings", "MonitorsSettings"]

MonitorKind = Literal["power", "temperature", "wavelength", "spectrum", "intensity"]

KINDS: dict[str, tuple[str, ...]] = {
    "power": ("power_w",),
    "temperature": ("temperature_c",),
    "wavelength": ("wavelength_nm",),
    "spectrum": ("wavelength_nm", "linewidth_ghz", "suppression_db"),
    "intensity": (),
}
"""By kind, the quantities that its readings have: names as in /health, unit last."""
QUANTITIES = tuple(dict.fromkeys(q for each in KINDS.values() for q in each))


def _range(value: Any) -> Any:
    error = allowed("[lowest, highest], either of them null where there is none")
    if not isinstance(value, list | tuple) or len(value) != 2 or value[0] is value[1] is None:
        raise error
    for each in value:
        if each is not None and (isinstance(each, bool) or not isinstance(each, int | float)):
            raise error
    low, high = value
    if low is not None and high is not None and not low < high:
        raise error
    return tuple(value)


Range = Annotated[tuple[float | None, float | None], BeforeValidator(_range)]


class MonitorSettings(Model):
    """One monitor: what it measures, and between which values that should lie."""

    kind: MonitorKind = Field(description="what its lines say: docs/reference/monitors.md")
    stale_s: Annotated[float, between(0.1, 86400.0, "s")] = Field(
        default=30.0, description="a reading that is older counts no more, and is told as stale"
    )
    limits: dict[str, Range] = Field(
        default={},
        description="by quantity, [lowest, highest], either of them null: "
        + ", ".join(f"`{q}`" for q in QUANTITIES),
    )

    @model_validator(mode="after")
    def _limits_of_the_kind(self) -> MonitorSettings:
        has = KINDS[self.kind]
        if not set(self.limits) <= set(has):
            raise allowed(f"limits of a monitor of {self.kind}: {', '.join(has) or 'none'}")
        return self


class MonitorsSettings(Model):
    """Power and spectrum monitors: where their lines come in, and which there are."""

    unix_socket: Path | None = Field(default=None, description="a socket of this machine")
    socket_mode: Literal["0600", "0660", "0666"] = Field(
        default="0660", description="who may write to unix_socket: its owner, his group, everybody"
    )
    listen: Address | None = Field(default=None, description="HOST:PORT, with TLS or plain")
    tls: MutualTls | None = Field(default=None, description="needed unless plain")
    plain: bool = Field(default=False, description="no TLS: allowed on a loopback address only")
    files: tuple[Path, ...] = Field(default=(), description="text files that are followed")
    max_connections: Annotated[int, between(1, 1000)] = Field(
        default=32, description="connections at once; further ones are hung up on"
    )
    each: dict[Name, MonitorSettings] = Field(
        min_length=1, description="the monitors by name; lines of others are refused"
    )

    @model_validator(mode="after")
    def _way_in(self) -> MonitorsSettings:
        if self.listen is None:
            if self.tls is not None or self.plain:
                raise allowed("tls and plain need listen")
        elif self.plain == (self.tls is not None):
            raise allowed("listen needs tls, or plain: true on a loopback address")
        elif self.plain and not is_loopback(self.listen):
            raise allowed("plain listens on a loopback address only")
        if self.unix_socket is None and self.listen is None and not self.files:
            raise allowed("a way in: unix_socket, listen, or files")
        return self

    @property
    def open_to_all(self) -> bool:
        """Whether any user of this machine may say what a monitor measures."""
        return self.plain or (self.unix_socket is not None and self.socket_mode == "0666")
