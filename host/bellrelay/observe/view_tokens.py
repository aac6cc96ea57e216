"""Who may change settings on the live view: names and their tokens, from a private file."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from pathlib import Path

from bellrelay.service.private_file import require_private_file
from bellrelay.settings.model import ConfigError

__all__ = ["owner_of", "read_tokens"]

_FEWEST = 24
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAMELESS = "operator"


def read_tokens(path: Path) -> dict[str, bytes]:
    """Tokens by the name of who has them, from a file that only its owner reads.

    A line per person: ``NAME TOKEN``, or a token alone, whose owner is called ``operator``. Empty
    lines and lines that begin with ``#`` say nothing.

    Raises
    ------
    ConfigError, OSError
        It is readable by others, has no token, one shorter than 24 characters, or a name twice.
        The text repeats no token.
    """
    require_private_file(path)
    found: dict[str, bytes] = {}
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, token = words if len(words) == 2 else (_NAMELESS, words[0])
        if len(words) > 2 or len(token) < _FEWEST or _NAME.fullmatch(name) is None:
            need = f"NAME TOKEN, the token of {_FEWEST} characters or more"
            raise ConfigError([f"{path}: line {number}; allowed: {need}"])
        if name in found or token.encode() in found.values():
            need = "names and tokens that differ"
            raise ConfigError([f"{path}: line {number}; allowed: {need}"])
        found[name] = token.encode()
    if not found:
        raise ConfigError([f"{path}: allowed: a token of {_FEWEST} characters or more"])
    return found


def owner_of(tokens: Mapping[str, bytes], authorization: str) -> str | None:
    """Whose token a header ``Authorization: Bearer TOKEN`` has; None: nobody's.

    Takes as long for every token that is wrong.
    """
    scheme, _, said = authorization.partition(" ")
    found = None
    for name, token in tokens.items():
        if hmac.compare_digest(said.strip().encode(), token):
            found = name
    return found if scheme == "Bearer" else None
