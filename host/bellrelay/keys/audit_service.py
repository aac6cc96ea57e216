"""The audit of a running daemon: the log, its checkpoints by the clock, and the ways to SIEMs."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import Any

import structlog

from bellrelay.settings.audit import AuditSettings

from .audit_checkpoint import CheckpointSigner
from .audit_forward import AuditForwarder
from .audit_log import AuditLog
from .audit_record import AuditEvent

__all__ = ["AuditService", "open_audit_log"]

_log = structlog.get_logger(__name__)


def open_audit_log(settings: AuditSettings, service: str, program: str = "kme") -> AuditLog:
    """The log of a configuration, for writing; raises as :class:`AuditLog` and the signer do."""
    signer = None if settings.signing_key is None else CheckpointSigner(settings.signing_key)
    return AuditLog(
        settings.directory,
        service,
        program=program,
        segment_bytes=settings.segment_mb << 20,
        signer=signer,
        checkpoint_every_s=settings.checkpoint_every_s,
        checkpoint_every_records=settings.checkpoint_every_records,
        checkpoint_copies=settings.checkpoint_copies,
    )


class AuditService:
    """Opens the log at once; sends and signs by the clock from :meth:`start` on.

    Parameters
    ----------
    settings
        The section `audit`.
    service
        The KME's id, or the relay's.
    program
        Which of them it is: ``kme`` or ``relay``.

    Attributes
    ----------
    log : AuditLog
        Where to record.
    """

    def __init__(self, settings: AuditSettings, service: str, program: str = "kme") -> None:
        self.log = open_audit_log(settings, service, program)
        self._program = program
        self._every_s = settings.checkpoint_every_s
        self._version = version("bellrelay")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self.forwarders = [AuditForwarder(way, settings.directory) for way in settings.forward]
        except BaseException:
            self.log.close()
            raise

    def start(self) -> None:
        """Put the start on record, and begin to send and to sign. AuditError, OSError."""
        self._record("started")
        for forwarder in self.forwarders:
            forwarder.start()
        self._thread = threading.Thread(target=self._sign, name="audit-checkpoints", daemon=True)
        self._thread.start()

    def _record(self, what: str) -> None:
        us = f"{self._program}:{self.log.service}"
        details = {"version": self._version}
        self.log.record(AuditEvent(f"{self._program}-{what}", "system", us, details=details))

    def _sign(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.log.checkpoint()
            except OSError as error:
                _log.error("no checkpoint", why=str(error))

    def stop(self) -> None:
        """Sign, close the log, and send what there is to servers that are there."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            try:
                self._record("stopped")
            except OSError as error:
                _log.error("the end is not on record", why=str(error))
        self.log.close()
        for forwarder in self.forwarders:
            forwarder.stop()

    def status(self) -> dict[str, Any]:
        """Plain numbers for /health and metrics. waiting : records that are not yet with a SIEM."""
        sequence = self.log.position.sequence
        return {
            "records": sequence,
            "fault": self.log.fault,
            "forward": {
                forwarder.settings.name: {
                    "connected": forwarder.connected,
                    "waiting": max(0, sequence - forwarder.confirmed.sequence),
                    "sent": forwarder.sent,
                    "fault": forwarder.fault,
                }
                for forwarder in self.forwarders
            },
        }
