"""Where a sender stands at each relay, on disk: a new process does not move it by a leap."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from .source_tracking import SenderPosition

__all__ = ["SenderPositions"]


class SenderPositions:
    """A small JSON file.

    Parameters
    ----------
    path
        Of the file; made with the first position.

    Raises
    ------
    OSError
        It is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions: dict[str, SenderPosition] = {}
        if path.exists():
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                self._positions = {
                    str(relay_id): SenderPosition(
                        float(row["delay_ps"]), int(row["acquisition"]), float(row["at_s"])
                    )
                    for relay_id, row in rows.items()
                }
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise OSError(f"{path}: no list of delays: {error!r}") from None

    def at(self, relay_id: str) -> SenderPosition:
        """Where it stands there; without any delay where that is not known."""
        return self._positions.get(relay_id, SenderPosition())

    def put(self, relay_id: str, position: SenderPosition) -> None:
        """Put down where it stands. OSError: it is not on disk."""
        positions = {**self._positions, relay_id: position}
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({name: asdict(p) for name, p in positions.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._positions = positions
