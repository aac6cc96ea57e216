"""From a YAML file to its model, or to one line per fault."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from .model import ConfigError, FileModel

__all__ = ["check", "load", "read_values"]

_File = TypeVar("_File", bound=FileModel)


def _line(origin: str, error: Mapping[str, Any]) -> str:
    key = ".".join(map(str, error["loc"])) or "the whole file"
    kind, message = error["type"], error["msg"]
    if kind == "missing":
        return f"{origin}: {key}: missing"
    if kind == "extra_forbidden":
        return f"{origin}: {key}: no such key"
    if kind != "allowed":
        message = "allowed: " + message.removeprefix("Input should be ").replace(
            "String should match pattern", "text that matches"
        )
    return f"{origin}: {key}: {error['input']!r}; {message}"


def check(model: type[_File], values: object, origin: str = "configuration") -> _File:
    """A configuration from what the YAML gave.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError([_line(origin, dict(e)) for e in error.errors()]) from None
    config._origin = origin
    faults = config.faults()
    if faults:
        raise ConfigError([f"{origin}: {k}: {v!r}; allowed: {a}" for k, v, a in faults])
    return config


def read_values(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file, not checked.

    Raises
    ------
    ConfigError
        The file is missing, or no YAML of keys and values.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError([f"{path}: cannot be read: {reason}"]) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: no YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ConfigError([f"{path}: the whole file: allowed: keys and values"])
    return values


def load(model: type[_File], path: Path) -> _File:
    """Read a YAML file.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return check(model, read_values(path), str(path))
