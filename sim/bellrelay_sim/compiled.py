"""The one way in which this package compiles a loop: with a cache that sees every edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba

import bellrelay.tags
import bellrelay.wire
import bellrelay_gateware.timing
from bellrelay.tags.compiled import watching

__all__ = ["njit"]


def _sources() -> list[Path]:
    """Files whose functions or constants may be compiled into a loop of this package."""
    folders = [Path(__file__).parent, *map(Path, bellrelay.tags.__path__)]
    folders += map(Path, bellrelay.wire.__path__)
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return [*files, Path(str(bellrelay_gateware.timing.__file__))]


_SOURCES = _sources()


def njit(**options: Any) -> Any:
    """``numba.njit`` with these options; a cache sees edits of all that may be compiled in."""
    compile_it = numba.njit(**options)

    def decorate(function: Any) -> Any:
        dispatcher = compile_it(function)
        return watching(dispatcher, _SOURCES) if options.get("cache") else dispatcher

    return decorate
