"""Files that nobody but their owner may read: a key that others can read is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UnsafeMode", "require_private_file"]


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
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeMode(f"{path}: not a regular file")
    credential = _is_credential(path)
    if status.st_uid not in ((0, os.geteuid()) if credential else (os.geteuid(),)):
        raise UnsafeMode(f"{path}: owned by user {status.st_uid}, not by us")
    if mode & (0o037 if credential else 0o077):
        raise UnsafeMode(f"{path}: mode {mode:04o} lets others in; chmod go= {path}")


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return folder != "" and path.parent == Path(folder)
