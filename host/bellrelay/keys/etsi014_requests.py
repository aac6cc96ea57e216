"""What an SAE asks for: ETSI GS QKD 014 v1.1.1, paths (5), Key request (6.2) and Key IDs (6.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes
from uuid import UUID

from .etsi014_errors import (
    EXTENSION_NOT_SUPPORTED,
    KEYS_NOT_FOUND,
    SIZE_NOT_MULTIPLE,
    BadRequest,
)
from .etsi014_json import integer, object_of, only, text

__all__ = [
    "PREFIX",
    "WAIT_PARAMETER",
    "KeyIds",
    "KeyRequest",
    "Limits",
    "Route",
    "key_ids",
    "key_ids_of_query",
    "key_request",
    "key_request_of_query",
    "route",
]

PREFIX = "/api/v1/keys/"
WAIT_PARAMETER = "bellrelay_wait_s"

_METHODS = {"status": ("GET",), "enc_keys": ("GET", "POST"), "dec_keys": ("GET", "POST")}
_KEY_REQUEST = (
    "number",
    "size",
    "additional_slave_SAE_IDs",
    "extension_mandatory",
    "extension_optional",
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MAX_ID = 256


@dataclass(frozen=True)
class Limits:
    """What this KME delivers, as its Status says.

    key_size, min_key_size, max_key_size : bits. max_sae_ids : additional slave SAEs in a request.
    max_wait_s : longest wait for keys that are not there yet.
    """

    key_size: int
    min_key_size: int
    max_key_size: int
    max_key_per_request: int
    max_sae_ids: int
    max_wait_s: float


@dataclass(frozen=True)
class Route:
    """A path of the API: the SAE that it names, and ``status``, ``enc_keys`` or ``dec_keys``."""

    sae_id: str
    verb: str


@dataclass(frozen=True)
class KeyRequest:
    """A Get key. size in bits; wait_s : how long to wait for keys, and whether that is a must."""

    number: int
    size: int
    additional_slaves: tuple[str, ...] = ()
    wait_s: float = 0.0
    wait_is_mandatory: bool = False


@dataclass(frozen=True)
class KeyIds:
    """A Get key with key IDs: UUIDs in their canonical form, in the order asked."""

    key_ids: tuple[str, ...]


def route(method: str, path: str) -> Route:
    """What a request is for. ``path`` is the raw path, still percent-encoded.

    Raises
    ------
    BadRequest
        No path of the API, or not with this method. The standard knows neither 404 nor 405.
    """
    parts = path.removeprefix(PREFIX).split("/")
    if not path.startswith(PREFIX) or len(parts) != 2 or parts[1] not in _METHODS:
        raise BadRequest(f"the paths are {PREFIX}{{SAE_ID}}/status, enc_keys and dec_keys")
    allowed = _METHODS[parts[1]]
    if method not in allowed:
        raise BadRequest(f"the access method of {parts[1]} is {' or '.join(allowed)}")
    return Route(_sae_id(parts[0]), parts[1])


def _sae_id(encoded: str) -> str:
    try:
        sae_id = unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the SAE ID in the path shall be URL-encoded UTF-8") from None
    return _sae(sae_id, "the SAE ID in the path")


def _sae(value: Any, name: str) -> str:
    sae_id = text(value, name)
    if len(sae_id) > _MAX_ID or not sae_id.isprintable():
        raise BadRequest(f"{name} shall be at most {_MAX_ID} printable characters")
    return sae_id


def _query(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise BadRequest("the query shall be name=value pairs") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("a parameter of the query is there twice")
    return found


def key_request_of_query(query: str, limits: Limits) -> KeyRequest:
    """A Get key by GET: ``number`` and ``size`` at most.

    Raises
    ------
    BadRequest
        Anything that the standard or this KME's limits rule out.
    """
    values = _query(query)
    if set(values) - {"number", "size"}:
        raise BadRequest("with GET the parameters are number and size; others take POST")
    numbers = {}
    for name, value in values.items():
        if not _NUMBER.fullmatch(value):
            raise BadRequest(f"{name} shall be an integer")
        numbers[name] = int(value)
    return _checked(numbers, limits)


def key_request(body: bytes, limits: Limits) -> KeyRequest:
    """A Get key by POST; an empty body asks for one key of the default size.

    Raises
    ------
    BadRequest
        As above; an ``extension_mandatory`` that this KME does not know.
    """
    values = object_of(body)
    only(values, _KEY_REQUEST, "the Key request")
    return _checked(values, limits)


def _checked(values: Mapping[str, Any], limits: Limits) -> KeyRequest:
    number = integer(values.get("number", 1), "number")
    size = integer(values.get("size", limits.key_size), "size")
    if not 1 <= number <= limits.max_key_per_request:
        raise BadRequest(f"number shall be 1 to {limits.max_key_per_request}")
    if size % 8:
        raise BadRequest(SIZE_NOT_MULTIPLE)
    if not limits.min_key_size <= size <= limits.max_key_size:
        raise BadRequest(f"size shall be {limits.min_key_size} to {limits.max_key_size}")
    slaves = _array(values, "additional_slave_SAE_IDs")
    if len(slaves) > limits.max_sae_ids:
        raise BadRequest(f"additional_slave_SAE_IDs shall be at most {limits.max_sae_ids}")
    saes = tuple(_sae(each, "each of additional_slave_SAE_IDs") for each in slaves)
    if len(set(saes)) != len(saes):
        raise BadRequest("additional_slave_SAE_IDs shall name an SAE once")
    mandatory = _extensions(values, "extension_mandatory")
    unsupported = [name for name, _ in mandatory if name != WAIT_PARAMETER]
    if unsupported:
        raise BadRequest(
            EXTENSION_NOT_SUPPORTED,
            [
                {"extension_mandatory_unsupported": f"{name[:64]} is not supported"}
                for name in unsupported[:16]
            ],
        )
    wait_s = 0.0
    must = False
    for name, value in mandatory + _extensions(values, "extension_optional"):
        if name == WAIT_PARAMETER and not must:
            wait_s = _wait(value, limits.max_wait_s)
            must = bool(mandatory)
    return KeyRequest(number, size, saes, wait_s, must)


def _array(values: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = values.get(name, [])
    if not isinstance(value, list):
        raise BadRequest(f"{name} shall be an array")
    return value


def _extensions(values: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Name/value pairs: an array of objects, each of which may have several."""
    pairs: list[tuple[str, Any]] = []
    for each in _array(values, name):
        if not isinstance(each, dict):
            raise BadRequest(f"{name} shall be an array of objects")
        pairs += each.items()
    return pairs


def _wait(value: Any, longest_s: float) -> float:
    good = not isinstance(value, bool) and isinstance(value, int | float)
    if not good or not math.isfinite(value) or value < 0:
        raise BadRequest(f"{WAIT_PARAMETER} shall be a number of seconds")
    return min(float(value), longest_s)


def key_ids_of_query(query: str) -> KeyIds:
    """A Get key with key IDs by GET: exactly one ``key_ID``.

    Raises
    ------
    BadRequest
        Anything else.
    """
    values = _query(query)
    if set(values) != {"key_ID"}:
        raise BadRequest("with GET the parameter is one key_ID; others take POST")
    return KeyIds((_uuid(values["key_ID"]),))


def key_ids(body: bytes, limits: Limits) -> KeyIds:
    """A Get key with key IDs by POST.

    Raises
    ------
    BadRequest
        Anything that the standard rules out; an ID that is no UUID is one that is not found.
    """
    values = object_of(body)
    only(values, ("key_IDs", "key_IDs_extension"), "the Key IDs")
    _extension(values, "key_IDs_extension")
    if "key_IDs" not in values:
        raise BadRequest("key_IDs is missing")
    asked = _array(values, "key_IDs")
    if not 1 <= len(asked) <= limits.max_key_per_request:
        raise BadRequest(f"key_IDs shall be 1 to {limits.max_key_per_request}")
    found = []
    for each in asked:
        if not isinstance(each, dict):
            raise BadRequest("key_IDs shall be an array of objects")
        only(each, ("key_ID", "key_ID_extension"), "an element of key_IDs")
        if "key_ID" not in each:
            raise BadRequest("key_ID is missing")
        _extension(each, "key_ID_extension")
        found.append(_uuid(text(each["key_ID"], "key_ID")))
    if len(set(found)) != len(found):
        raise BadRequest("key_IDs shall name a key once")
    return KeyIds(tuple(found))


def _extension(values: Mapping[str, Any], name: str) -> None:
    """For future use, says the standard: an object, and nothing is made of it."""
    if not isinstance(values.get(name, {}), dict):
        raise BadRequest(f"{name} shall be an object")


def _uuid(value: str) -> str:
    if not _UUID.fullmatch(value):
        raise BadRequest(KEYS_NOT_FOUND)
    return str(UUID(value))
