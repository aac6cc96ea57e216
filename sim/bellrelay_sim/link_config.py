"""A simulated link and its board from a YAML file."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from bellrelay.wire.geometry import BoardGeometry

from .detector import Detector, polarisation_detectors, time_bin_detectors
from .link import SimulatedLink
from .source import Source, four_intensity, three_intensity

__all__ = ["LinkConfigError", "link_and_geometry", "load_link"]


class LinkConfigError(ValueError):
    """The message names the key that is wrong."""


def load_link(path: Path) -> tuple[SimulatedLink, BoardGeometry]:
    """Read a link file.

    Raises
    ------
    LinkConfigError
        Naming file and key.
    OSError
        The file cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise LinkConfigError(f"{path}: {error}") from error
    try:
        return link_and_geometry({} if content is None else content)
    except LinkConfigError as error:
        raise LinkConfigError(f"{path}: {error}") from error


def link_and_geometry(content: object) -> tuple[SimulatedLink, BoardGeometry]:
    """Link and board from what a YAML file holds.

    Keys are the parameters of :class:`SimulatedLink`; ``detectors`` is a list, or a number of
    detectors with defaults; ``alice`` and ``bob`` are ``{settings: [...]}``, or the parameters of
    :func:`four_intensity`, or ``{three_intensity: {...}}``. ``board`` holds those of
    :class:`BoardGeometry`; its number of detectors is the link's.

    Raises
    ------
    LinkConfigError
        Naming the key.
    """
    if not isinstance(content, Mapping):
        raise LinkConfigError("the file must hold a mapping")
    values = dict(content)
    board = values.pop("board", {})
    for party in ("alice", "bob"):
        if party in values:
            values[party] = _source(values[party], party)
    polarised = values.get("encoding") == "polarisation"
    if isinstance(values.get("detectors"), int):
        count = values["detectors"]
        if polarised:
            del values["detectors"]
        else:
            try:
                values["detectors"] = time_bin_detectors(count)
            except ValueError as error:
                raise LinkConfigError(f"detectors: {error}") from error
    if polarised and "detectors" not in values:
        values["detectors"] = polarisation_detectors()
    if isinstance(values.get("detectors"), list):
        values["detectors"] = tuple(
            _build(Detector, d, f"detectors[{i}]") for i, d in enumerate(values["detectors"])
        )
    link = _build(SimulatedLink, values, "")
    if not isinstance(board, Mapping):
        raise LinkConfigError("board: must be a mapping")
    geometry = _build(BoardGeometry, {"n_detectors": link.n_detectors, **board}, "board")
    if geometry.n_detectors != link.n_detectors:
        raise LinkConfigError(
            f"board.n_detectors is {geometry.n_detectors}, but the link has {link.n_detectors}"
        )
    return link, geometry


def _source(value: object, key: str) -> Source:
    if not isinstance(value, Mapping):
        raise LinkConfigError(f"{key}: must be a mapping")
    try:
        if "settings" in value:
            return typing.cast(Source, _build(Source, value, key))
        if "three_intensity" in value:
            return three_intensity(**value["three_intensity"])
        return four_intensity(**value)
    except (TypeError, ValueError) as error:
        raise LinkConfigError(f"{key}: {error}") from error


def _build(kind: Any, value: object, key: str) -> Any:
    """A dataclass from a mapping, with its fields' own dataclasses."""
    if dataclasses.is_dataclass(value):
        return value
    if not isinstance(value, Mapping):
        raise LinkConfigError(f"{key}: must be a mapping")
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}
    prefix = f"{key}." if key else ""
    out = {}
    for name, part in value.items():
        if name not in names:
            raise LinkConfigError(f"{prefix}{name}: unknown; allowed: {', '.join(sorted(names))}")
        out[name] = _convert(hints[name], part, f"{prefix}{name}")
    try:
        return kind(**out)
    except (TypeError, ValueError) as error:
        raise LinkConfigError(f"{key}: {error}" if key else str(error)) from error


def _convert(hint: Any, value: object, key: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, key)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, key)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = args[0]
        return tuple(_convert(inner, v, f"{key}[{i}]") for i, v in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError as error:
            allowed = ", ".join(str(e.value) for e in hint)
            raise LinkConfigError(f"{key} is {value!r}; allowed: {allowed}") from error
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(hint, type) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise LinkConfigError(
        f"{key} is {value!r}; it must be of type {getattr(hint, '__name__', hint)}"
    )
