"""Secrets that systemd hands to a unit: every unit sees them in a directory of its own.

A YAML names them where the daemon's unit finds them. A command that another unit runs (as
deploy/bellrelay-keys does) gets the same files in another place, by the same names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar

from bellrelay.settings.load import check
from bellrelay.settings.model import FileModel

__all__ = ["unit_of_credential", "with_own_credentials"]

_CREDENTIAL = re.compile(r"^/run/credentials/(bellrelay-[a-z]+@[^/]*\.service)/")
_File = TypeVar("_File", bound=FileModel)


def unit_of_credential(path: Path) -> str | None:
    """The unit of a daemon of ours that systemd hands this file to; None: it is no credential."""
    found = _CREDENTIAL.match(str(path))
    return None if found is None else found[1]


def with_own_credentials(config: _File) -> _File:
    """The same, with files of a daemon's unit taken from where systemd hands them to this process.

    Nothing is moved in a process that has no credentials of its own.
    """
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    if own is None:
        return config
    values = config.model_dump(exclude_unset=True)
    return check(type(config), _moved(values, own), config.origin)


def _moved(value: Any, own: str) -> Any:
    if isinstance(value, dict):
        return {key: _moved(each, own) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(each, own) for each in value]
    if isinstance(value, Path):
        return Path(_CREDENTIAL.sub(lambda _: f"{own}/", str(value)))
    return value
