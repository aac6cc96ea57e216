"""JSON as a request may have it: one object, no key twice, no NaN, and ``true`` is no integer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from .etsi014_errors import BadRequest

__all__ = ["integer", "object_of", "only", "text"]

_MAX_DEPTH = 16


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def object_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object that a body holds; an empty body is an empty object, as the standard has it.

    Raises
    ------
    BadRequest
        No UTF-8, no JSON (RFC 8259), a key twice, or not an object.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_no_twice
        )
    except (ValueError, RecursionError):
        # What the parser says would quote the body.
        raise BadRequest("the body shall be one JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise BadRequest("the body shall be one JSON object in UTF-8")
    if _deeper(value, _MAX_DEPTH):
        raise BadRequest(f"the body shall be nested at most {_MAX_DEPTH} deep")
    return value


def _deeper(value: Any, levels: int) -> bool:
    inner: Iterable[Any]
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return levels == 0 or any(_deeper(each, levels - 1) for each in inner)


def only(value: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Nothing but these items.

    Raises
    ------
    BadRequest
        Another one: a misspelt item must not silently mean its default.
    """
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise BadRequest(f"{where} has no item {unknown[0][:64]!r}")


def integer(value: Any, name: str) -> int:
    """An integer; ``true`` is none, and 1.0 is none either.

    Raises
    ------
    BadRequest
        Something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{name} shall be an integer")
    return value


def text(value: Any, name: str) -> str:
    """A string, not empty.

    Raises
    ------
    BadRequest
        Something else.
    """
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{name} shall be a string")
    return value
