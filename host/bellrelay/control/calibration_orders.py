"""Calibrations that somebody asks of a running daemon: files in its calibration's directory.

Who may write there may order. A daemon holds a lock while it serves; an order is a file that
appears whole, and its answer another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["OrderBox", "OrderUnanswered"]

_POLL_S = 0.1
_BEGIN_S = 30.0


class OrderUnanswered(OSError):
    """The daemon went away, or does not take orders."""

    def __str__(self) -> str:
        return str(self.args[-1])


class OrderBox:
    """Orders to one relay's daemon.

    Parameters
    ----------
    directory
        Of the calibration.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "orders"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock: int | None = None

    # ------------------------------------------------------------------------------- the daemon

    def serve(self) -> bool:
        """Take the place of who serves; False if another does."""
        file = os.open(self._folder / ".serving", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._lock = file
        # What nobody waits for any more.
        for old in (*self._folder.glob("*.order"), *self._folder.glob("*.answer")):
            old.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Serve no more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def take(self) -> tuple[str, Mapping[str, Any]] | None:
        """The oldest order, if there is one; it is taken once."""
        for path in sorted(self._folder.glob("*.order"), key=lambda p: p.stat().st_mtime_ns):
            try:
                order = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                order = None
            path.unlink(missing_ok=True)
            if isinstance(order, dict):
                return path.stem, order
        return None

    def answer(self, key: str, values: Mapping[str, Any]) -> None:
        """What became of an order."""
        self._put(f"{key}.answer", values)

    # ------------------------------------------------------------------------------- who asks

    def served(self) -> bool:
        """Whether a daemon serves."""
        file = os.open(self._folder / ".serving", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def ask(
        self, order: Mapping[str, Any], tell: Callable[[str], None] = lambda _line: None
    ) -> Mapping[str, Any]:
        """Give an order, and wait for its answer. OrderUnanswered."""
        key = secrets.token_hex(8)
        self._put(f"{key}.order", order)
        answer, waiting = self._folder / f"{key}.answer", self._folder / f"{key}.order"
        end = time.monotonic() + _BEGIN_S
        told = False
        try:
            while not answer.exists():
                if not self.served():
                    raise OrderUnanswered("the relay's daemon has ended")
                if waiting.exists() and time.monotonic() > end and not told:
                    told = True
                    tell("the daemon is busy with another calibration; waiting")
                time.sleep(_POLL_S)
            values: Mapping[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return values
        finally:
            with contextlib.suppress(OSError):
                answer.unlink(missing_ok=True)
                waiting.unlink(missing_ok=True)

    def _put(self, name: str, values: Mapping[str, Any]) -> None:
        partial = self._folder / f"{name}.new"
        partial.write_text(json.dumps(values), encoding="utf-8")
        partial.rename(self._folder / name)
