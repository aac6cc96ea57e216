"""Something that is wrong now, and the page about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ActiveFault"]


@dataclass(frozen=True)
class ActiveFault:
    """One of them.

    name : as the watch or the alert calls it. runbook : path in the repository, or address.
    said_by : the daemon that tells it, or "Prometheus".
    """

    name: str
    subject: str
    title: str
    runbook: str
    said_by: str
