"""SQLite files of a daemon, looked at without leaving a trace beside them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["read_only"]


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that neither writes nor makes a file, whoever asks and whoever else writes.

    SQLite itself would make the files of the write-ahead log anew, as the user who looks: the
    daemon then could not open its own store any more.

    Raises
    ------
    OSError
        It is not there.
    sqlite3.Error
        It cannot be read, or changes that nobody has brought in lie beside it.
    """
    path.stat()
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    if index.exists():
        # Somebody has it open, or died with it open: the log counts, and its index is there.
        how = "mode=ro"
    elif log.exists() and log.stat().st_size:
        raise sqlite3.OperationalError(f"{log} holds changes that are not brought in yet")
    else:
        how = "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
