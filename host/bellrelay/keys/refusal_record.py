"""Requests that were refused for who asked: summed up second by second, and put on record."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from .audit_record import Audit, AuditEvent

__all__ = ["RefusalRecord"]

_EVERY_S = 1.0
_MOST_KINDS = 256
_LONGEST = 200
_log = structlog.get_logger(__name__)


class RefusalRecord:
    """What a KME has refused.

    One record for each SAE, address and reason in a second, with the number of requests: somebody
    who asks in a loop fills no disk. Beyond 256 of those in a second, they are one record together.

    Parameters
    ----------
    audit
        Where records go.
    kme_id
        Who refused.

    Attributes
    ----------
    total : int
        Requests refused since the start.
    """

    def __init__(self, audit: Audit, kme_id: str) -> None:
        self.total = 0
        self._audit = audit
        self._kme_id = kme_id
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, sae: str, address: str, why: str) -> None:
        """A request was refused. sae : as its certificate has it, or empty."""
        self.total += 1
        kind = (sae[:_LONGEST], address, why)
        if len(self._counts) >= _MOST_KINDS and kind not in self._counts:
            kind = ("", "", "many different requests")
        self._counts[kind] += 1

    async def run(self) -> None:
        """Record; ends by cancellation."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Record what there is. What cannot be recorded is kept until it can."""
        counts, self._counts = self._counts, Counter()
        events = [
            AuditEvent(
                "request-refused",
                f"sae:{sae or '-'}",
                f"kme:{self._kme_id}",
                "failure",
                {"source.ip": address, "error.message": why, "requests": number},
            )
            for (sae, address, why), number in counts.items()
        ]
        if not events:
            return
        try:
            self._audit.record(*events)
        except OSError as error:
            # Nothing is delivered either while the log cannot be written.
            _log.error("refusals not recorded", error=type(error).__name__)
            self._counts.update(dict(counts.most_common(_MOST_KINDS)))
