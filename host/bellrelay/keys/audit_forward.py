"""Sends every record to a syslog server, each at least once, however long the server is away.

The log itself is the backlog: a way to a server is a position in it. The position moves on once the
server's machine has acknowledged the bytes and the connection has lived for a while after. When it
breaks before, what was sent last is sent again; a record's sequence tells that it is the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog

from bellrelay.settings.audit import Forward

from .audit_reader import AuditReader, ReadPosition, ReadRecord, load_position, save_position
from .syslog_format import syslog_message
from .syslog_transport import SyslogWay, open_way

__all__ = ["AuditForwarder"]

_LOOK_S = 0.2
_RETRY_S = (1.0, 60.0)
_log = structlog.get_logger(__name__)


@dataclass
class _Sent:
    """The end of something that was sent. acknowledged_at : by time.monotonic, once it was."""

    after: ReadPosition
    acknowledged_at: float | None = None


class AuditForwarder:
    """One way, in a thread of its own.

    Attributes
    ----------
    connected : bool
        Whether the server is there now.
    confirmed : ReadPosition
        Up to where records count as arrived.
    sent : int
        Messages since the start, those that were sent again included.
    fault : str
        Why the last connection failed; empty while there is one.
    """

    def __init__(
        self,
        settings: Forward,
        directory: Path,
        *,
        look_s: float = _LOOK_S,
        retry_s: tuple[float, float] = _RETRY_S,
    ) -> None:
        self.settings = settings
        self.connected = False
        self.sent = 0
        self.fault = ""
        self._directory = directory
        self._state = directory / f"forward-{settings.name}.json"
        self._look_s, self._retry_s = look_s, retry_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._version = version("bellrelay")
        reader = AuditReader(directory, load_position(self._state))
        self.confirmed = reader.position
        reader.close()

    def start(self) -> None:
        """Begin to send."""
        name = f"audit-{self.settings.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what there is, if the server is there, and hang up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause, longest = self._retry_s
        while True:
            try:
                self._session()
                pause = self._retry_s[0]
                if self._stop.is_set():
                    return
            except OSError as error:
                self.connected = False
                why = str(error.strerror or error)
                if why != self.fault:
                    _log.warning("audit records wait", way=self.settings.name, why=why)
                self.fault = why
            except Exception:
                # A fault of ours must not end the thread in silence.
                _log.exception("audit records wait", way=self.settings.name)
                self.connected, self.fault = False, "a fault of the program"
            if self._stop.wait(pause):
                return
            pause = min(2 * pause, longest)

    def _session(self) -> None:
        """One connection, until it breaks or we are to stop."""
        way = open_way(self.settings)
        self.connected, self.fault = True, ""
        _log.info("audit records go", way=self.settings.name, sequence=self.confirmed.sequence)
        pending: deque[_Sent] = deque()
        reader = AuditReader(self._directory, self.confirmed)
        try:
            while True:
                records = reader.read()
                if records:
                    way.send([self._message(record) for record in records])
                    self.sent += len(records)
                    pending.append(_Sent(records[-1].after))
                self._confirm(way, pending)
                if not records and self._stop.is_set():
                    if way.finish() and pending:
                        self._arrived(pending[-1].after)
                    return
                if not records:
                    self._stop.wait(self._look_s)
        finally:
            way.close()
            reader.close()
            self.connected = False

    def _message(self, record: ReadRecord) -> bytes:
        return syslog_message(
            record.line,
            record.values,
            facility=self.settings.facility,
            enterprise=self.settings.enterprise,
            version=self._version,
        )

    def _confirm(self, way: SyslogWay, pending: deque[_Sent]) -> None:
        now = time.monotonic()
        if way.unacknowledged() == 0:
            for sent in pending:
                if sent.acknowledged_at is None:
                    sent.acknowledged_at = now
        last = None
        while pending:
            since = pending[0].acknowledged_at
            if since is None or now - since < self.settings.settle_s:
                break
            last = pending.popleft().after
        if last is not None:
            self._arrived(last)

    def _arrived(self, position: ReadPosition) -> None:
        save_position(self._state, position)
        self.confirmed = position
