"""The one way in which this package compiles a loop, with types that mypy can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled", "compiled_bare", "inlined", "watching"]

_F = TypeVar("_F", bound=Callable[..., Any])


def watching(dispatcher: Any, files: Iterable[Path]) -> Any:
    """Have the cache of a compiled function notice an edit of any of the files.

    Numba looks at the function's own file alone, though what it calls, and constants of other
    files, are compiled into it.
    """
    stats = [file.stat() for file in files]
    dispatcher._cache._cache_file._source_stamp = tuple((s.st_mtime_ns, s.st_size) for s in stats)
    return dispatcher


@cache
def _sources(file: str) -> list[Path]:
    """Files that a loop of this one may be compiled from: of its packages, and of this package."""
    folders = {Path(__file__).parent}
    folder = Path(file).parent
    while (folder / "__init__.py").exists():
        folders.add(folder)
        folder = folder.parent
    return sorted(source for folder in folders for source in folder.glob("*.py"))


def _watching_sources(dispatcher: Any, function: Callable[..., Any]) -> Any:
    return watching(dispatcher, _sources(function.__code__.co_filename))


def compiled(function: _F) -> _F:
    """Compile with numba on first call, cached on disk; the loop releases the GIL."""
    return cast(_F, _watching_sources(njit(cache=True, nogil=True)(function), function))


def compiled_bare(function: _F) -> _F:
    """Compile a function that makes no array, and so need not count references to those it gets.

    Counting takes longer than some of the loops, as it is done at every call for every array.
    """
    dispatcher = cast(Any, njit)(cache=True, nogil=True, _nrt=False)(function)
    return cast(_F, _watching_sources(dispatcher, function))


def inlined(function: _F) -> _F:
    """Compile into every caller: no call has to hand over the many arrays of a plan or state."""
    return cast(_F, njit(inline="always")(function))
