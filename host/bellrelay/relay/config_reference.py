"""The reference page of the relay's YAML, from the model that reads it.

python -m bellrelay.relay.config_reference > docs/reference/relay-config.md
"""

from __future__ import annotations

import sys
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from .config import RelayConfig

__all__ = ["reference_page"]

_HEAD = """# Configuration of a relay

`bellrelay relay --config FILE.yaml` reads these keys; `--check` says whether a file can be used,
and asks the board. An unknown key is an error, so is a value out of range: the line names file,
key, value and what is allowed. An [example](../../deploy/relay.example.yaml) has most of them.

Times in a slot are whole picoseconds, windows are half open. This page is made by
`python -m bellrelay.relay.config_reference`.

| Key | Default | Allowed | Meaning |
|---|---|---|---|
"""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple):
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
            mark = "[]" if get_origin(field.annotation) is tuple else ""
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


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "\n".join(_rows(RelayConfig, "")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
