"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "State", "failed", "passed", "unknown", "warning"]


class State(StrEnum):
    """How it is."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    check : its name. remedy : a command, or a page of docs. error : why it failed, where something
    was raised; it decides what a command that stops at this ends with.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "check": self.check,
            "state": str(self.state),
            "detail": self.detail,
            "remedy": self.remedy,
        }


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def passed(check: str, detail: str) -> Finding:
    """It is right."""
    return Finding(check, State.PASSED, detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """It works, and will not do so for ever, or not always."""
    return Finding(check, State.WARNING, _one_line(detail), remedy)


def unknown(check: str, detail: str, remedy: str = "") -> Finding:
    """It cannot be seen from here."""
    return Finding(check, State.UNKNOWN, _one_line(detail), remedy)


def failed(check: str, detail: object, remedy: str, error: BaseException | None = None) -> Finding:
    """It is wrong; an exception as the detail is its error, too."""
    if error is None and isinstance(detail, BaseException):
        error = detail
    return Finding(check, State.FAILED, _one_line(detail) or type(detail).__name__, remedy, error)
