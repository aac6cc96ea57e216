"""The rows of a reference page, from the model that reads the YAML."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

__all__ = ["key_table"]

_HEAD = """| Key | Default | Allowed | Meaning |
|---|---|---|---|
"""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple, dict):
        return [m for part in get_args(annotation) for m in _models(part)]
    return []


def _allowed(model: type[BaseModel], name: str) -> str:
    """What an error about this key says is allowed."""
    field = model.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{v}`" for v in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    try:
        model.__pydantic_validator__.validate_assignment(model.model_construct(), name, object())
    except ValidationError as error:
        text = next((e["msg"] for e in error.errors() if e["type"] == "allowed"), "")
        return text.removeprefix("allowed: ")
    return ""


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    out = []
    for name, field in model.model_fields.items():
        inner = _models(field.annotation)
        if inner:
            origin = get_origin(field.annotation)
            mark = "[]" if origin is tuple else ".NAME" if origin is dict else ""
            optional = NoneType in get_args(field.annotation)
            text = (inner[0].__doc__ or "").strip().splitlines()[0]
            state = "none" if optional else "needed" if field.is_required() else ""
            out.append(f"| `{prefix}{name}{mark}` | {state} | | {field.description or text} |")
            out += _rows(inner[0], f"{prefix}{name}{mark}.")
        else:
            out.append(
                f"| `{prefix}{name}` | {_default(field.default)} | {_allowed(model, name)} "
                f"| {field.description} |"
            )
    return out


def key_table(model: type[BaseModel]) -> str:
    """A Markdown table with a row for every key."""
    return _HEAD + "\n".join(_rows(model, "")) + "\n"
