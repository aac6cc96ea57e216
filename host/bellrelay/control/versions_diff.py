"""What two sets of plain values say differently, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MISSING", "Difference", "differences"]

MISSING = "(not set)"


@dataclass(frozen=True)
class Difference:
    """A key, as a path with dots, and its values; :data:`MISSING` where it is not there."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


def differences(before: Any, after: Any) -> list[Difference]:
    """In the order of the keys; mappings and lists of the same length are entered."""
    return list(_walk("", before, after))


def _walk(key: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            path = f"{key}.{name}" if key else name
            yield from _walk(path, before.get(name, MISSING), after.get(name, MISSING))
    elif _is_list(before) and _is_list(after) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _walk(f"{key}[{i}]", one, other)
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Difference(key, before, after)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
