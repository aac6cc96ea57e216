"""The boards that there are."""

from __future__ import annotations

import importlib
import pkgutil

from . import definitions
from .board import Board

__all__ = ["UnknownBoard", "all_boards", "find_board"]


class UnknownBoard(ValueError):
    """No board of that name."""


def all_boards() -> dict[str, Board]:
    """Every file of :mod:`.definitions`, by the board's name."""
    found = [
        importlib.import_module(f"{definitions.__name__}.{module.name}").BOARD
        for module in pkgutil.iter_modules(definitions.__path__)
    ]
    return {board.name: board for board in sorted(found, key=lambda board: board.name)}


def find_board(name: str) -> Board:
    """The board of this name.

    Raises
    ------
    UnknownBoard
        With the names that there are.
    """
    boards = all_boards()
    if name not in boards:
        raise UnknownBoard(f"no board {name!r}; there are: {', '.join(boards)}")
    return boards[name]
