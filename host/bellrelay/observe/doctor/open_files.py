"""The limit on open files, against what the configuration allows others to open."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from .finding import Finding, passed, warning

__all__ = ["check_open_files"]

_CHECK = "limits"


def check_open_files(needed: int, limit: int | None = None) -> Iterator[Finding]:
    """Hold one against the other; the limit is this process's, a unit of systemd has its own."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit in (resource.RLIM_INFINITY, -1) or needed <= limit:
        most = "any number" if limit in (resource.RLIM_INFINITY, -1) else limit
        yield passed(_CHECK, f"{most} open files are allowed here, {needed} at most are needed")
        return
    yield warning(
        _CHECK,
        f"{limit} open files are allowed here, {needed} may be needed if everybody comes at once",
        f"LimitNOFILE={needed} in the daemon's unit, which counts there (ulimit -n {needed} here)",
    )
