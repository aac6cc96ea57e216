"""The one way in which this package compiles a loop, with types that mypy can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile with numba on first call, cached on disk; the loop releases the GIL."""
    return cast(_F, njit(cache=True, nogil=True)(function))
