"""Files and directories for their owner alone: a key that others can read is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UnsafeMode", "require_private_directory", "require_private_file"]


class UnsafeMode(OSError):
    """Somebody else could read or change what must be secret."""

    def __str__(self) -> str:
        return str(self.args[-1])


def require_private_file(path: Path) -> None:
    """Raise UnsafeMode unless it is a regular file, ours, and closed to everybody else.

    A credential that systemd hands to this service (below ``CREDENTIALS_DIRECTORY``) may be root's,
    and readable by a group: who may read it stands in an access control list, whose mask shows
    there.

    OSError if it is not there.
    """
    status = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeMode(f"{path}: not a regular file")
    if _is_credential(path):
        _require(path, status, owners=(0, os.geteuid()), others=0o037)
    else:
        _require(path, status, owners=(os.geteuid(),), others=0o077)


def require_private_directory(path: Path) -> None:
    """Raise UnsafeMode unless it is a directory, ours, and closed to everybody else.

    OSError if it is not there.
    """
    status = path.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeMode(f"{path}: not a directory")
    _require(path, status, owners=(os.geteuid(),), others=0o077)


def _require(path: Path, status: os.stat_result, owners: tuple[int, ...], others: int) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in owners:
        raise UnsafeMode(f"{path}: owned by user {status.st_uid}, not by us")
    if mode & others:
        raise UnsafeMode(f"{path}: mode {mode:04o} lets others in; chmod go= {path}")


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return folder != "" and path.parent == Path(folder)
