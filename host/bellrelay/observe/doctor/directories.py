"""Where a daemon writes: whether it may, whether there is room, and whether locks hold there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .finding import Finding, failed, passed, unknown, warning
from .needs import Directory
from .private_files import AS_THE_DAEMON

__all__ = ["FULL_MB", "LITTLE_MB", "StorageFault", "check_directories"]

_CHECK = "directories"
FULL_MB = 16
"""With less free space a directory counts as full."""
LITTLE_MB = 1024
"""With less, beyond what the daemon's own files may still grow by, it is a warning."""
_UNITS_OWN = (Path("/run/bellrelay"), Path("/var/lib/bellrelay"))
_MB = 1_000_000

FreeBytes = Callable[[Path], int]


class StorageFault(OSError):
    """A directory cannot be used for what it is there for."""

    def __str__(self) -> str:
        return str(self.args[1])


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def check_directories(
    directories: Iterable[Directory], free_bytes: FreeBytes = _free_bytes
) -> Iterator[Finding]:
    """Each of them; a file of nought bytes is made and removed."""
    for directory in directories:
        try:
            yield from _check(directory, free_bytes)
        except PermissionError:
            where = f"{directory.key}: {directory.path}: this user may not look there"
            yield unknown(_CHECK, where, AS_THE_DAEMON)


def _check(directory: Directory, free_bytes: FreeBytes) -> Iterator[Finding]:
    key, path = directory.key, directory.path
    at = path if path.exists() else _nearest(path)
    if at is not path and any(path.is_relative_to(own) for own in _UNITS_OWN):
        yield unknown(_CHECK, f"{key}: {path} is not there: systemd makes it as the unit starts")
        return
    if not at.is_dir():
        yield _bad(key, f"{at}: no directory", f"move {at} away, or change {key}", errno.ENOTDIR)
        return
    try:
        _try_lock(at)
    except OSError as error:
        why = error.strerror or str(error)
        whose = f"{why} (owned by user {at.stat().st_uid}, and this is user {os.geteuid()})"
        makes = f"install -d -m 0700 -o USER {path}, USER the daemon's user; or {AS_THE_DAEMON}"
        yield _bad(key, f"{at}: {whose}", makes, error.errno or errno.EACCES)
        return
    free = free_bytes(at) // _MB
    need = max(0, directory.may_grow_mb - _used_bytes(path) // _MB)
    made = "" if at is path else f"; {path} will be made in it"
    line = f"{key}: {at}: writable, locks hold, {free} MB free{made}"
    look = f"df -h {at}; du -xh --max-depth=1 {at}"
    if free < FULL_MB:
        yield _bad(key, f"{at}: {free} MB free: it is full", look, errno.ENOSPC)
    elif free < need:
        grow = f"{key}: {at}: {free} MB free, and its files may grow by {need} MB more"
        yield warning(_CHECK, grow, f"{look}; or lower the retention beside {key}")
    elif free < LITTLE_MB:
        yield warning(_CHECK, f"{key}: {at}: {free} MB free, less than {LITTLE_MB}", look)
    else:
        yield passed(_CHECK, line)


def _bad(key: str, what: str, remedy: str, number: int) -> Finding:
    return failed(_CHECK, f"{key}: {what}", remedy, StorageFault(number, what))


def _nearest(path: Path) -> Path:
    """The nearest directory above it that is there."""
    return next(above for above in path.absolute().parents if above.exists())


def _used_bytes(path: Path) -> int:
    if not path.is_dir():
        return 0
    used = 0
    for each in path.iterdir():
        # The oldest may just go.
        with contextlib.suppress(FileNotFoundError):
            used += each.stat().st_size
    return used


def _try_lock(path: Path) -> None:
    """Raise OSError unless a file can be made there, and a lock on it keeps others out."""
    with tempfile.NamedTemporaryFile(dir=path, prefix=".bellrelay-doctor-") as file:
        # SQLite's way, and that of our own logs and pools.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_UN)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other = os.open(file.name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        finally:
            os.close(other)
    raise OSError(errno.ENOLCK, "the file system does not keep locks")
