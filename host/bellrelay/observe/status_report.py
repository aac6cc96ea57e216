"""Asks everybody of a status file at once, and says how it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bellrelay.service.health_asker import HealthAsker

from .active_fault import ActiveFault
from .daemon_status import Condition, DaemonStatus, daemon_status, unreachable
from .prometheus_api import PrometheusApi, PrometheusAway, PrometheusRefused
from .slo_file import SloFile
from .slo_status import FiringAlert, firing_of
from .status_file import StatusFile, trust

__all__ = ["StatusAsker", "StatusReport"]

_KEY_LEFT = "bellrelay:key_left:seconds"
_OF_PROMETHEUS = "Prometheus"


@dataclass(frozen=True)
class StatusReport:
    """How everybody was at a time.

    alerts : what fires in Prometheus; None: not asked for, or no answer. prometheus : why there
    was none; "" if there was one, or nobody was to be asked.
    """

    utc_ns: int
    daemons: tuple[DaemonStatus, ...]
    alerts: tuple[ActiveFault, ...] | None
    prometheus: str = ""

    @property
    def condition(self) -> Condition:
        """The worst of all."""
        conditions = {daemon.condition for daemon in self.daemons}
        if Condition.UNREACHABLE in conditions or self.prometheus:
            return Condition.UNREACHABLE
        if Condition.DEGRADED in conditions or self.alerts:
            return Condition.DEGRADED
        return Condition.WELL

    @property
    def faults(self) -> tuple[ActiveFault, ...]:
        """All that are told; a fault that both endpoints tell is told once."""
        found: dict[tuple[str, str], ActiveFault] = {}
        for daemon in self.daemons:
            for fault in daemon.faults:
                key = (fault.name, fault.subject)
                other = found.get(key)
                if other is not None and fault.said_by not in other.said_by.split(", "):
                    said_by = f"{other.said_by}, {fault.said_by}"
                    fault = ActiveFault(*key, other.title, other.runbook, said_by)
                found[key] = fault
        return (*found.values(), *(self.alerts or ()))

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "utc_ns": self.utc_ns,
            "condition": str(self.condition),
            "daemons": [daemon.as_json() for daemon in self.daemons],
            "faults": [vars(fault) for fault in self.faults],
            "alerts": None if self.alerts is None else [vars(alert) for alert in self.alerts],
            "prometheus": self.prometheus,
        }


class StatusAsker:
    """Asks again and again; use it as a context manager.

    Parameters
    ----------
    file
    slo
        Its address of the runbooks is put before their names; None: names alone.
    clock
        UTC, nanoseconds.

    Raises
    ------
    ConfigError
        A file of certificates cannot be used.
    """

    def __init__(
        self, file: StatusFile, slo: SloFile | None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._file = file
        self._runbooks = None if slo is None else slo.runbooks
        self._clock = clock
        self._asker = HealthAsker(file.timeout_s, trust(file.ca, "ca", file))
        self._prometheus: PrometheusApi | None = None
        if file.prometheus is not None:
            tls = trust(file.prometheus.ca, "prometheus.ca", file)
            self._prometheus = PrometheusApi(file.prometheus.url, file.timeout_s, tls)

    async def __aenter__(self) -> StatusAsker:
        await self._asker.__aenter__()
        if self._prometheus is not None:
            await self._prometheus.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._asker.__aexit__(*exception)
        if self._prometheus is not None:
            await self._prometheus.__aexit__(*exception)

    async def ask(self) -> StatusReport:
        """Everybody, at once; never longer than the file's timeout."""
        daemons = self._file.daemons()
        alerts, *answers = await asyncio.gather(
            self._alerts(), *(self._asker.ask(url) for _, _, url in daemons)
        )
        key_left, firing, away = alerts
        now = self._clock()
        lit = _lit(answers)
        found = []
        for (kind, name, url), health in zip(daemons, answers, strict=True):
            if health is None:
                found.append(unreachable(kind, name, url, self._asker.why[url]))
                continue
            left = None if key_left is None else key_left.get(name, {})
            status = daemon_status(kind, name, url, health, now, left, name in lit if lit else None)
            found.append(self._linked(status))
        return StatusReport(now, tuple(found), firing, away)

    async def _alerts(
        self,
    ) -> tuple[dict[str, dict[str, float]] | None, tuple[ActiveFault, ...] | None, str]:
        """Seconds of key left by KME and pair, what fires, and why there was no answer."""
        if self._prometheus is None:
            return None, None, ""
        try:
            groups, series = await asyncio.gather(
                self._prometheus.rule_groups(), self._prometheus.query(_KEY_LEFT)
            )
        except (PrometheusAway, PrometheusRefused) as error:
            return None, None, str(error)
        left: dict[str, dict[str, float]] = {}
        for one in series:
            left.setdefault(one.labels.get("kme", ""), {})[one.labels.get("pair", "")] = one.value
        return left, tuple(map(_alert, firing_of(_ours(groups)))), ""

    def _linked(self, status: DaemonStatus) -> DaemonStatus:
        """With addresses of the runbooks."""
        runbooks = self._runbooks
        if runbooks is None or not status.faults:
            return status
        faults = tuple(
            ActiveFault(
                f.name,
                f.subject,
                f.title,
                runbooks + f.runbook.removeprefix("docs/runbooks/"),
                f.said_by,
            )
            for f in status.faults
        )
        return DaemonStatus(**{**vars(status), "faults": faults})


def _lit(answers: Sequence[Mapping[str, Any] | None]) -> set[str]:
    """Relays that endpoints direct light to; empty if no endpoint answers."""
    return {str(a["relays"]["active"]) for a in answers if a is not None and "relays" in a}


def _ours(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Groups of the SLO file: a Prometheus may serve others, too."""
    return [group for group in groups if str(group["name"]).startswith("bellrelay-")]


def _alert(alert: FiringAlert) -> ActiveFault:
    subject = ", ".join(f"{k} {v}" for k, v in alert.labels.items())
    title = f"{alert.summary} ({alert.severity}, since {alert.since[:19].replace('T', ' ')} UTC)"
    return ActiveFault(alert.name, subject, title, alert.runbook, _OF_PROMETHEUS)
