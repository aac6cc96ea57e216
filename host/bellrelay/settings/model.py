"""Models of YAML files, the values that several of them take, and the error of a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "Address",
    "ConfigError",
    "FileModel",
    "Health",
    "Model",
    "MutualTls",
    "Name",
    "allowed",
    "between",
    "is_loopback",
    "split_address",
]


class ConfigError(Exception):
    """A configuration that cannot be used; one line per fault, each with file, key, value."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def allowed(text: str) -> PydanticCustomError:
    """The error of a validator: what this key may be."""
    return PydanticCustomError("allowed", "{allowed}", {"allowed": f"allowed: {text}"})


def between(low: float, high: float, unit: str = "") -> WrapValidator:
    """A number within these bounds, both included; whatever is wrong, the error names them."""
    text = f"{low:g} to {high:g}" if isinstance(low, float) else f"{low} to {high}"
    error = allowed(f"{text} {unit}".rstrip())

    def check(value: Any, handler: Any) -> Any:
        try:
            number = handler(value)
        except ValidationError:
            raise error from None
        if isinstance(value, bool) or not low <= number <= high:
            raise error
        return number

    return WrapValidator(check)


def _address(value: Any) -> Any:
    error = allowed("HOST:PORT, port 0 to 65535")
    if not isinstance(value, str):
        raise error
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) <= 65535):
        raise error
    return value


Address = Annotated[str, BeforeValidator(_address)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a checked ``HOST:PORT``; IPv6 in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether a checked ``HOST:PORT`` is reached from this machine alone."""
    host = split_address(address)[0]
    return host in ("localhost", "::1") or host.startswith("127.")


class Model(BaseModel):
    """A mapping in a YAML file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Health(Model):
    """/health and /metrics."""

    listen: Address | None = Field(default=None, description="HOST:PORT, plain HTTP; none: off")


class MutualTls(Model):
    """Mutual TLS: both sides show a certificate."""

    certificate: Path = Field(description="our own certificate, PEM")
    key: Path = Field(description="its private key, PEM")
    ca: Path = Field(description="who signs the other side's certificate, PEM")

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """In the order that ``bellrelay.service.tls`` takes them."""
        return self.certificate, self.key, self.ca


class FileModel(Model):
    """The whole of a YAML file; :mod:`bellrelay.settings.load` makes it."""

    _origin: str = PrivateAttr("configuration")

    @property
    def origin(self) -> str:
        """The file that this came from, for errors."""
        return self._origin

    def error(self, key: str, value: object, allowed: str) -> ConfigError:
        """The error that names this file."""
        return ConfigError([f"{self._origin}: {key}: {value!r}; allowed: {allowed}"])

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        return []
