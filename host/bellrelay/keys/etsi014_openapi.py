"""The OpenAPI 3.1 document of what a KME serves, with this KME's own limits in it."""

from __future__ import annotations

import functools
import json
from typing import Any

from .etsi014_errors import KEYS_NOT_FOUND
from .etsi014_requests import WAIT_PARAMETER, Limits

__all__ = ["openapi", "openapi_document"]

_UUID = {"type": "string", "format": "uuid"}
_OBJECT = {"type": "object"}


def _object(properties: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, **more}


def _schemas(limits: Limits) -> dict[str, Any]:
    texts = ("source_KME_ID", "target_KME_ID", "master_SAE_ID", "slave_SAE_ID")
    numbers = (
        "key_size",
        "stored_key_count",
        "max_key_count",
        "max_key_per_request",
        "max_key_size",
        "min_key_size",
        "max_SAE_ID_count",
    )
    size = {
        "type": "integer",
        "multipleOf": 8,
        "minimum": limits.min_key_size,
        "maximum": limits.max_key_size,
        "default": limits.key_size,
    }
    number = {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.max_key_per_request,
        "default": 1,
    }
    wait = {"type": "number", "minimum": 0, "description": "wait so long for keys, in seconds"}
    extension = {"type": "array", "items": _OBJECT}
    return {
        "Status": _object(
            {
                **{name: {"type": "string"} for name in texts},
                **{name: {"type": "integer"} for name in numbers},
            }
            | {"status_extension": _OBJECT},
            [*texts, *numbers],
        ),
        "KeyRequest": _object(
            {
                "number": number,
                "size": size,
                "additional_slave_SAE_IDs": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": limits.max_sae_ids,
                    "uniqueItems": True,
                },
                "extension_mandatory": {
                    "type": "array",
                    "items": _object({WAIT_PARAMETER: wait}, [], additionalProperties=False),
                },
                "extension_optional": extension,
            },
            [],
            additionalProperties=False,
        ),
        "KeyContainer": _object(
            {
                "keys": {
                    "type": "array",
                    "items": _object(
                        {
                            "key_ID": _UUID,
                            "key_ID_extension": _OBJECT,
                            "key": {"type": "string", "contentEncoding": "base64"},
                            "key_extension": _OBJECT,
                        },
                        ["key_ID", "key"],
                    ),
                },
                "key_container_extension": _OBJECT,
            },
            ["keys"],
        ),
        "KeyIDs": _object(
            {
                "key_IDs": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": limits.max_key_per_request,
                    "items": _object(
                        {"key_ID": _UUID, "key_ID_extension": _OBJECT},
                        ["key_ID"],
                        additionalProperties=False,
                    ),
                },
                "key_IDs_extension": _OBJECT,
            },
            ["key_IDs"],
            additionalProperties=False,
        ),
        "Error": _object(
            {"message": {"type": "string"}, "details": {"type": "array", "items": _OBJECT}},
            ["message"],
        ),
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _operation(
    summary: str, name: str, answer: str, sae: str, more: dict[str, Any], bad: str = "Bad request."
) -> dict[str, Any]:
    path = {"name": sae, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "summary": summary,
        "operationId": name,
        "parameters": [path, *more.pop("parameters", [])],
        **more,
        "responses": {
            "200": {"description": "Done.", "content": _content(answer)},
            "400": {"description": bad, "content": _content("Error")},
            "401": {"description": "Not this SAE's.", "content": _content("Error")},
            "503": {
                "description": "Keys run short, the other KME is away, or too many requests.",
                "content": _content("Error"),
            },
        },
    }


def _query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def openapi(limits: Limits) -> dict[str, Any]:
    """The document, as Python has it."""
    schemas = _schemas(limits)
    wish = schemas["KeyRequest"]["properties"]
    body = {"requestBody": {"content": _content("KeyRequest")}}
    by_query = {
        "parameters": [_query("number", wish["number"]), _query("size", wish["size"])],
    }
    ids_body = {"requestBody": {"required": True, "content": _content("KeyIDs")}}
    one_id = {"parameters": [_query("key_ID", _UUID, required=True)]}
    slave, master = "slave_SAE_ID", "master_SAE_ID"
    not_found = f"Bad request; a key that is not (or no longer) there: {KEYS_NOT_FOUND!r}."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Key delivery, ETSI GS QKD 014",
            "version": "1.1.1",
            "description": "Every request needs a client certificate, which names the SAE.",
        },
        "paths": {
            "/api/v1/keys/{slave_SAE_ID}/status": {
                "get": _operation("Get status", "getStatus", "Status", slave, {}),
            },
            "/api/v1/keys/{slave_SAE_ID}/enc_keys": {
                "get": _operation("Get key", "getKey", "KeyContainer", slave, by_query),
                "post": _operation("Get key", "postKey", "KeyContainer", slave, body),
            },
            "/api/v1/keys/{master_SAE_ID}/dec_keys": {
                "get": _operation(
                    "Get key with key ID", "getKeyWithId", "KeyContainer", master, one_id, not_found
                ),
                "post": _operation(
                    "Get key with key IDs",
                    "postKeyWithIds",
                    "KeyContainer",
                    master,
                    ids_body,
                    not_found,
                ),
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"certificate": {"type": "mutualTLS"}},
        },
        "security": [{"certificate": []}],
    }


@functools.lru_cache(maxsize=4)
def openapi_document(limits: Limits) -> bytes:
    """The document in JSON."""
    return json.dumps(openapi(limits), separators=(",", ":")).encode()
