"""Changes that a person makes on the live view: who may, what was asked, what became of it."""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bellrelay.keys.private_file import require_private_file
from bellrelay.settings.model import ConfigError
from bellrelay.wire.access import AccessError

__all__ = ["ChangeRefused", "SettingsControl", "ViewControl", "read_token"]

_FEWEST = 24
_KEPT = 100
_REFUSALS = 5
_PAUSE_S = 10.0


class ChangeRefused(Exception):
    """The message is for the person; status is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class SettingsControl(Protocol):
    """The relay's settings, as :class:`bellrelay.control.relay_settings.RelaySettings` has them."""

    def tunable(self) -> Mapping[str, Any]:
        """What may be changed, as it is in force."""
        ...

    def change(self, values: Mapping[str, Any], reason: str, author: str) -> object:
        """Validate, record and bring into force. ConfigError names key, value, allowed."""
        ...

    def undo(self, reason: str, author: str) -> object:
        """Back to the version before."""
        ...

    def history(self) -> list[dict[str, Any]]:
        """Versions, oldest first."""
        ...


def read_token(path: Path) -> bytes:
    """A token from a file that only its owner reads.

    Raises
    ------
    ConfigError, OSError
        It is readable by others, or shorter than 24 characters.
    """
    require_private_file(path)
    token = path.read_bytes().strip()
    if len(token) < _FEWEST:
        raise ConfigError([f"{path}: allowed: a token of {_FEWEST} characters or more"])
    return token


class ViewControl:
    """Settings behind a token; every attempt is audited before it is made.

    Parameters
    ----------
    settings
        Of the relay; None: nothing can be changed.
    token
        None: nothing can be changed.
    audit
        Called with action, actor, outcome and details of every attempt; an exception stops it.
    """

    def __init__(
        self,
        settings: SettingsControl | None,
        token: bytes | None,
        audit: Callable[[str, str, str, Mapping[str, Any]], None],
    ) -> None:
        self._settings = settings
        self._token = token
        self._audit = audit
        self._refused: deque[float] = deque(maxlen=_REFUSALS)
        self.changes: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    @property
    def writable(self) -> bool:
        """Whether somebody with the token may change something."""
        return self._settings is not None and self._token is not None

    def tunable(self) -> Mapping[str, Any]:
        """What may be changed, as it is in force; empty where nothing is known."""
        return {} if self._settings is None else self._settings.tunable()

    def history(self) -> list[dict[str, Any]]:
        """Versions, oldest first."""
        return [] if self._settings is None else self._settings.history()

    def check(self, authorization: str, peer: str) -> None:
        """Let in who has the token.

        Raises
        ------
        ChangeRefused
        """
        if not self.writable:
            raise ChangeRefused(403, "this view is read-only: its configuration has no token_file")
        assert self._token is not None
        now = time.monotonic()
        if len(self._refused) == _REFUSALS and now - self._refused[0] < _PAUSE_S:
            raise ChangeRefused(429, f"too many wrong tokens; wait {_PAUSE_S:g} s")
        scheme, _, said = authorization.partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(said.strip().encode(), self._token):
            self._refused.append(now)
            self._audit("view.refused", peer, "failure", {})
            raise ChangeRefused(401, "the token does not fit")

    def change(self, values: Mapping[str, Any], reason: str, peer: str) -> None:
        """Bring values into force.

        Raises
        ------
        ChangeRefused
            With one line per fault.
        """
        assert self._settings is not None
        self._do("change", peer, {"values": str(dict(values)), "reason": reason}, values, reason)

    def undo(self, reason: str, peer: str) -> None:
        """Back to what was before the last change. ChangeRefused: there is none."""
        self._do("undo", peer, {"reason": reason}, None, reason)

    def _do(
        self,
        action: str,
        peer: str,
        details: Mapping[str, Any],
        values: Mapping[str, Any] | None,
        reason: str,
    ) -> None:
        settings = self._settings
        assert settings is not None
        author = f"view from {peer}"
        self._audit(f"view.{action}", peer, "unknown", details)
        try:
            if values is None:
                settings.undo(reason, author)
            else:
                settings.change(values, reason, author)
        except ConfigError as error:
            self._audit(f"view.{action}", peer, "failure", {**details, "why": str(error)})
            raise ChangeRefused(400, "\n".join(error.lines)) from None
        except (AccessError, OSError, ValueError) as error:
            self._audit(f"view.{action}", peer, "failure", {**details, "why": str(error)})
            raise ChangeRefused(409, str(error)) from None
        self._audit(f"view.{action}", peer, "success", details)
        self.changes.append({"utc_s": time.time(), "action": action, "by": peer, **details})
