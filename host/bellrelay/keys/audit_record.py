"""What is put on record: events, and the interface of whatever keeps them.

Whoever changes something records it first, inside its own transaction, and goes on only if that
returned: where auditing fails, the operation fails. See docs/reference/audit.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Audit", "AuditError", "AuditEvent"]

_WORD = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
_MAX_TEXT = 1024
# Room for the SAE IDs of a key's many slaves.
_MAX_DETAIL = 1 << 15
_MAX_DETAILS = 32
_MAX_INTEGER = 1 << 63


class AuditError(OSError):
    """The audit log cannot be used; what was to be recorded must not happen."""

    def __str__(self) -> str:
        return str(self.args[-1]) if self.args else ""


@dataclass(frozen=True)
class AuditEvent:
    """One thing that somebody did, or was refused.

    Never key material, nor a plain hash of it: there is no field for bytes, and a number has no
    room for a key.

    Parameters
    ----------
    action
        What, in words of small letters joined by hyphens: ``key-delivered``. At most 32 characters,
        as syslog has no longer MSGID.
    actor
        Who: ``sae:NAME``, ``kme:NAME``, ``operator:NAME``, ``bridge:NAME``, ``system``, or
        ``unknown``: who showed nothing that fits.
    object_
        To what: ``key:UUID``, ``block:UUID``, ``relay:NAME``, ``kek:ID``.
    outcome
        ``success``, ``failure`` (refused, or it did not work) or ``unknown``.
    details
        More about it, by names like ``size_bits``; names of the Elastic Common Schema that are
        listed in :mod:`.audit_ecs` keep their meaning.

    Raises
    ------
    ValueError, TypeError
        Something that has no place in the log. The text does not repeat it.
    """

    action: str
    actor: str
    object_: str
    outcome: str = "success"
    details: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.action) > 32 or _WORD.fullmatch(self.action) is None:
            raise ValueError("an action is words of small letters, 32 characters at most")
        if self.outcome not in ("success", "failure", "unknown"):
            raise ValueError("an outcome is success, failure or unknown")
        _require_text("actor", self.actor)
        _require_text("object", self.object_)
        if len(self.details) > _MAX_DETAILS:
            raise ValueError(f"more than {_MAX_DETAILS} details")
        for name, value in self.details.items():
            if len(name) > 64 or _WORD.fullmatch(name) is None:
                raise ValueError("a detail's name is words of small letters, 64 characters at most")
            if name == "object" or name.startswith("audit."):
                raise ValueError(f"a detail cannot be called {name}: the log uses that name itself")
            _require_plain(name, value)


def _require_text(name: str, value: object, longest: int = _MAX_TEXT) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name}: {type(value).__name__} instead of text")
    if not 0 < len(value) <= longest:
        raise ValueError(f"{name}: {len(value)} characters, 1 to {longest} are allowed")


def _require_plain(name: str, value: object) -> None:
    if isinstance(value, str) and not value:
        return
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{name}: {type(value).__name__} instead of text or a number")
    if isinstance(value, str):
        _require_text(name, value, _MAX_DETAIL)
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{name}: not a finite number")
    elif not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise ValueError(f"{name}: a number beyond 64 bits")


class Audit(Protocol):
    """Keeps events; any thread may call it."""

    def record(self, *events: AuditEvent) -> None:
        """Put events on record, in this order; durable when it returns.

        Raises
        ------
        AuditError, OSError
            Nothing may count as recorded, and the operation must fail.
        """
