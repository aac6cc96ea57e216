"""Changes that a person makes on the live view: who may, what was asked, what became of it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from bellrelay.keys.audit_record import Audit, AuditEvent
from bellrelay.settings.model import ConfigError
from bellrelay.wire.access import AccessError

from .view_tokens import owner_of

__all__ = ["ChangeRefused", "SettingsControl", "ViewControl"]

_KEPT = 100
_REFUSALS = 5
_PAUSE_S = 10.0
_PEERS = 256
"""Addresses of which refusals are kept: the latest."""
_LONGEST = 1 << 14
"""Characters of values that are put on record."""
_log = structlog.get_logger(__name__)


class ChangeRefused(Exception):
    """The message is for the person; status is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Version(Protocol):
    @property
    def number(self) -> int: ...


class SettingsControl(Protocol):
    """The relay's settings, as :class:`bellrelay.control.relay_settings.RelaySettings` has them."""

    def tunable(self) -> Mapping[str, Any]:
        """What may be changed, as it is in force."""
        ...

    def change(self, values: Mapping[str, Any], reason: str, author: str) -> _Version:
        """Validate, record and bring into force. ConfigError names key, value, allowed."""
        ...

    def undo(self, reason: str, author: str) -> _Version:
        """Back to the version before."""
        ...

    def history(self) -> list[dict[str, Any]]:
        """Versions, oldest first."""
        ...


class ViewControl:
    """Settings behind tokens; every attempt is on record before it is made.

    Where that cannot be, nothing is changed. What became of an attempt is on record after it, with
    what was in force before and after; a change of which that cannot be recorded is taken back.

    Parameters
    ----------
    relay_id
        Whose settings, for the record.
    settings
        Of the relay; None: nothing can be changed.
    tokens
        By name; empty: nothing can be changed.
    audit
        Where attempts are put on record.
    """

    def __init__(
        self,
        relay_id: str,
        settings: SettingsControl | None,
        tokens: Mapping[str, bytes],
        audit: Audit,
    ) -> None:
        self._object = f"relay:{relay_id}"
        self._settings = settings
        self._tokens = dict(tokens)
        self._audit = audit
        self._refused: dict[str, deque[float]] = {}
        self.changes: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    @property
    def writable(self) -> bool:
        """Whether somebody with a token may change something."""
        return self._settings is not None and bool(self._tokens)

    def tunable(self) -> Mapping[str, Any]:
        """What may be changed, as it is in force; empty where nothing is known."""
        return {} if self._settings is None else self._settings.tunable()

    def history(self) -> list[dict[str, Any]]:
        """Versions, oldest first."""
        return [] if self._settings is None else self._settings.history()

    def check(self, authorization: str, peer: str) -> str:
        """Let in who has a token; returns the name that it has.

        After five tokens within ten seconds that did not fit, that address waits, whatever it
        sends; others do not.

        Raises
        ------
        ChangeRefused
        """
        if not self.writable:
            raise ChangeRefused(403, "this view is read-only: its configuration has no token_file")
        now = time.monotonic()
        before = self._refused.get(peer)
        if before is not None and len(before) == _REFUSALS and now - before[0] < _PAUSE_S:
            raise ChangeRefused(429, f"too many wrong tokens; wait {_PAUSE_S:g} s")
        name = owner_of(self._tokens, authorization)
        if name is None:
            self._note_refusal(peer, now)
            self._record("view-refused", "unknown", "failure", {"source.ip": peer})
            raise ChangeRefused(401, "the token does not fit")
        return name

    def _note_refusal(self, peer: str, now: float) -> None:
        # At the end: who has been quiet for longest is forgotten first.
        times = self._refused.pop(peer, deque(maxlen=_REFUSALS))
        times.append(now)
        self._refused[peer] = times
        if len(self._refused) > _PEERS:
            del self._refused[next(iter(self._refused))]

    def change(self, values: Mapping[str, Any], reason: str, person: str, peer: str) -> None:
        """Bring values into force.

        Raises
        ------
        ChangeRefused
            With one line per fault.
        """
        settings = self._settings
        assert settings is not None
        asked = json.dumps(values, sort_keys=True)
        details = {"source.ip": peer, "event.reason": reason, "values": asked[:_LONGEST]}
        if len(asked) > _LONGEST:
            self._record("settings-changed", f"operator:{person}", "failure", details)
            raise ChangeRefused(413, f"allowed: values of {_LONGEST} characters")

        def take_back(author: str) -> None:
            settings.undo("it could not be put on record", author)

        self._do(
            "settings-changed",
            person,
            details,
            lambda author: settings.change(values, reason, author),
            take_back,
        )

    def undo(self, reason: str, person: str, peer: str) -> None:
        """Back to what was before the last change. ChangeRefused: there is none."""
        settings = self._settings
        assert settings is not None
        details = {"source.ip": peer, "event.reason": reason}
        self._do(
            "settings-undone", person, details, lambda author: settings.undo(reason, author), None
        )

    def _do(
        self,
        action: str,
        person: str,
        details: Mapping[str, str | int],
        make: Callable[[str], _Version],
        take_back: Callable[[str], None] | None,
    ) -> None:
        author, actor = f"{person}, live view", f"operator:{person}"
        before = self.tunable()
        self._record(action, actor, "unknown", details)
        try:
            version = make(author)
        except ConfigError as error:
            self._failed(action, actor, details, error)
            raise ChangeRefused(400, "\n".join(error.lines)) from None
        except (AccessError, OSError, ValueError) as error:
            self._failed(action, actor, details, error)
            raise ChangeRefused(409, str(error)) from None
        except Exception as error:
            self._failed(action, actor, details, error)
            raise
        became = {**details, **_differences(before, self.tunable()), "version": version.number}
        try:
            self._record(action, actor, "success", became)
        except ChangeRefused:
            if take_back is not None:
                self._take_back(take_back, author)
            raise
        self.changes.append({"utc_s": time.time(), "action": action, "by": person, **became})

    def _failed(
        self, action: str, actor: str, details: Mapping[str, str | int], error: Exception
    ) -> None:
        why = str(error)[:_LONGEST] or type(error).__name__
        self._record(action, actor, "failure", {**details, "error.message": why})

    def _take_back(self, take_back: Callable[[str], None], author: str) -> None:
        try:
            take_back(author)
        except (ConfigError, AccessError, OSError, ValueError) as error:
            # Its beginning is on record.
            _log.error("a change without a record of its end stays", why=str(error))

    def _record(
        self, action: str, actor: str, outcome: str, details: Mapping[str, str | int]
    ) -> None:
        try:
            self._audit.record(AuditEvent(action, actor, self._object, outcome, details))
        except OSError as error:
            _log.error("not on record, so not done", action=action, why=str(error))
            raise ChangeRefused(
                503, f"the audit log cannot be written, so nothing is changed: {error}"
            ) from None


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Of what has changed: how it was, and how it is."""
    keys = [key for key in after if before.get(key) != after[key]]
    return {
        "before": json.dumps({key: before.get(key) for key in keys}, sort_keys=True),
        "after": json.dumps({key: after[key] for key in keys}, sort_keys=True),
    }
