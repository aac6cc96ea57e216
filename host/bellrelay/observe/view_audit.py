"""Where the live view puts changes on record: a chained log of the relay's own, like a KME's."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import structlog

from bellrelay.keys.audit_record import AuditError, AuditEvent
from bellrelay.keys.audit_service import AuditService
from bellrelay.settings.audit import AuditSettings

__all__ = ["ViewAudit"]

_log = structlog.get_logger(__name__)


class ViewAudit:
    """An :class:`~bellrelay.keys.audit_record.Audit` whose faults do not stop the relay.

    A relay measures whether its settings can be changed or not: where the log cannot be opened,
    every :meth:`record` fails, and with it the change that was to be recorded.

    Parameters
    ----------
    settings
        None: nothing is ever recorded, as nothing may be changed.
    relay_id
        Stands in every record.
    """

    def __init__(self, settings: AuditSettings | None, relay_id: str) -> None:
        self._service: AuditService | None = None
        self._started = False
        self._fault = "there is no audit log"
        self._configured = settings is not None
        if settings is None:
            return
        try:
            self._service = AuditService(settings, relay_id, "relay")
        except OSError as error:
            self._fault = str(error)
            _log.error("no audit log: nothing can be changed on the live view", why=str(error))

    def start(self) -> None:
        """Put the start on record; sign and send by the clock from now on."""
        try:
            self._begin()
        except OSError as error:
            # Whoever wants to change something tries again.
            _log.error("the start is not on record", why=str(error))

    def _begin(self) -> None:
        if self._service is not None and not self._started:
            self._service.start()
            self._started = True

    def stop(self) -> None:
        """Put the end on record, and close the log."""
        if self._service is not None:
            self._service.stop()

    def record(self, *events: AuditEvent) -> None:
        """See :meth:`bellrelay.keys.audit_record.Audit.record`."""
        if self._service is None:
            raise AuditError(errno.EIO, self._fault)
        self._begin()
        self._service.log.record(*events)

    def status(self) -> Mapping[str, Any] | None:
        """Plain numbers, or None where nothing may be changed. fault : empty while all is well."""
        if not self._configured:
            return None
        if self._service is None:
            return {"records": 0, "fault": self._fault, "forward": {}}
        return self._service.status()
