"""Word to systemd: ready, alive, what we do. A datagram; without systemd, nothing."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify", "watchdog_interval_s"]


def notify(*lines: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=...`` to who started us, if they listen."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto("\n".join(lines).encode(), address)


def watchdog_interval_s() -> float | None:
    """How often systemd wants to hear that we live: half of the watchdog's time, or None."""
    text = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isdigit() or process != str(os.getpid()):
        return None
    return int(text) / 2e6
