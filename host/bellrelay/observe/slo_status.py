"""How objectives are kept, by what Prometheus has recorded by the rules of the SLO file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .prometheus_api import PrometheusApi, Series
from .slo_file import Slo, SloFile, seconds
from .slo_rules import rules

__all__ = ["FiringAlert", "RulesMissing", "SloReading", "SloStatus", "firing_of", "slo_status"]

_ERRORS = "bellrelay:slo_errors:ratio_"
_LEFT = "bellrelay:slo_budget_left:ratio"


class RulesMissing(Exception):
    """Prometheus does not evaluate the rules of the SLO file; the message says which."""


@dataclass(frozen=True)
class FiringAlert:
    """An alert that fires now. labels : those that tell it from others, without name, severity."""

    name: str
    severity: str
    labels: Mapping[str, str]
    summary: str
    description: str
    runbook: str
    since: str

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {**vars(self), "labels": dict(self.labels)}


@dataclass(frozen=True)
class SloReading:
    """An objective, of one relay, link or KME.

    window : of its budget. labels : whose it is; empty where nobody has any. errors : share of what
    was bad, by window; windows without data are not there. budget_left : None: no data. recorded :
    share of the SLO's window of which there is a record. runbook : address of its page.
    """

    slo: Slo
    window: str
    labels: Mapping[str, str]
    errors: Mapping[str, float]
    budget_left: float | None
    recorded: float
    runbook: str

    @property
    def reached(self) -> float | None:
        """Share of what was good in the SLO's window; None: no data."""
        bad = self.errors.get(self.window)
        return None if bad is None else 1.0 - bad

    def burn(self, window: str) -> float | None:
        """Times as fast as would use the budget up in the SLO's window; None: no data."""
        bad = self.errors.get(window)
        return None if bad is None else bad / (1.0 - self.slo.target)

    @property
    def kept(self) -> bool:
        """Whether it is: more budget is left than none.

        Where it is about events, or about a quantity, having none is no breach. A daemon's
        target is always there, so that no data about it means that nobody looks.
        """
        if self.budget_left is None:
            return self.slo.indicator.up is None
        return self.budget_left > 0.0


@dataclass(frozen=True)
class SloStatus:
    """All objectives, what burns, and what fires.

    window : over which budgets are spent. windows : in which burn rates are looked at, shortest
    first. failed : rules that end in an error, and why.
    """

    window: str
    readings: Sequence[SloReading]
    windows: Sequence[str]
    alerts: Sequence[FiringAlert]
    failed: Sequence[str]

    @property
    def well(self) -> bool:
        """Whether every objective is kept, nothing fires, and every rule works."""
        return not self.alerts and not self.failed and all(r.kept for r in self.readings)

    def as_json(self) -> dict[str, Any]:
        """Plain types; null: no data."""
        return {
            "slos": [
                {
                    "slo": r.slo.name,
                    "title": r.slo.title,
                    "target": r.slo.target,
                    "window": r.window,
                    "labels": dict(r.labels),
                    "reached": r.reached,
                    "budget_left": r.budget_left,
                    "burn": {w: r.burn(w) for w in self.windows},
                    "recorded": r.recorded,
                    "kept": r.kept,
                    "runbook": r.runbook,
                }
                for r in self.readings
            ],
            "alerts": [alert.as_json() for alert in self.alerts],
            "rules_failed": list(self.failed),
            "well": self.well,
        }


async def slo_status(api: PrometheusApi, file: SloFile) -> SloStatus:
    """Ask.

    Raises
    ------
    RulesMissing
        It does not evaluate these rules, or older ones.
    PrometheusAway, PrometheusRefused
    """
    groups = await api.rule_groups()
    missing = _missing(file, groups)
    if missing:
        some = "; ".join(missing[:3]) + (f"; and {len(missing) - 3} more" if missing[3:] else "")
        raise RulesMissing(
            f"{api.url}: not evaluated: {some}. Make them by `python -m "
            f"bellrelay.observe.slo_rules {file.origin}`, name them in rule_files, and reload"
        )
    recorded = f"count_over_time({_ERRORS}{file.window}[{file.window}])"
    found, counts = await asyncio.gather(
        api.query(f'{{__name__=~"{_ERRORS}.+|{_LEFT}"}}'), api.query(recorded)
    )
    windows = sorted({w for b in file.burn for w in (b.short, b.long)}, key=seconds)
    readings = [r for slo in file.slos for r in _readings(file, slo, found, counts)]
    return SloStatus(file.window, readings, windows, firing_of(groups), _failed(groups))


def firing_of(groups: Sequence[Mapping[str, Any]]) -> list[FiringAlert]:
    """Alerts that fire, pages first, the oldest first."""
    out = []
    for group in groups:
        for rule in group["rules"]:
            for alert in rule.get("alerts", ()):
                if alert["state"] == "firing":
                    labels, said = alert["labels"], alert["annotations"]
                    out.append(
                        FiringAlert(
                            labels["alertname"],
                            labels.get("severity", ""),
                            {
                                k: v
                                for k, v in sorted(labels.items())
                                if k not in ("alertname", "severity", "instance", "job")
                            },
                            said.get("summary", ""),
                            said.get("description", ""),
                            said.get("runbook_url", ""),
                            str(alert["activeAt"]),
                        )
                    )
    return sorted(out, key=lambda a: (a.severity != "page", a.since, a.name))


def _missing(file: SloFile, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rules of the file that are not there, or that say something else: of an older file."""
    there: dict[str, list[Mapping[str, Any]]] = {}
    for group in groups:
        for rule in group["rules"]:
            there.setdefault(rule["name"], []).append(rule)
    out = []
    for group in rules(file)["groups"]:
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            alike = [
                one
                for one in there.get(name, ())
                if rule.get("labels", {}).items() <= one.get("labels", {}).items()
            ]
            if not alike:
                about = rule.get("labels", {}).get("slo", "")
                out.append(f"{name}{f' of {about}' if about else ''}")
            elif "alert" in rule and all(
                one.get("annotations", {}) != rule["annotations"] for one in alike
            ):
                # Target, window and limit stand in the texts.
                out.append(f"{name}, as the file has it: another one is there")
    return sorted(set(out))


def _failed(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(
        {
            f"{rule['name']}: {rule.get('lastError', '')}"
            for group in groups
            for rule in group["rules"]
            if rule.get("health") == "err"
        }
    )


def _readings(
    file: SloFile, slo: Slo, found: Sequence[Series], counts: Sequence[Series]
) -> list[SloReading]:
    """One for each of those that it is promised of; one without labels where nobody has data."""
    errors: dict[tuple[str, ...], dict[str, float]] = {}
    left: dict[tuple[str, ...], float] = {}
    for series in found:
        if series.labels.get("slo") != slo.name:
            continue
        key = _key(slo, series)
        name = series.labels["__name__"]
        if name == _LEFT:
            left[key] = series.value
        else:
            errors.setdefault(key, {})[name.removeprefix(_ERRORS)] = series.value
    evaluations = seconds(file.window) / seconds(file.evaluate)
    recorded = {
        _key(slo, s): min(1.0, s.value / evaluations)
        for s in counts
        if s.labels.get("slo") == slo.name
    }
    runbook = f"{file.runbooks}{slo.runbook}.md"
    keys = sorted(errors.keys() | left.keys() | recorded.keys())
    if not keys:
        return [SloReading(slo, file.window, {}, {}, None, 0.0, runbook)]
    return [
        SloReading(
            slo,
            file.window,
            {name: value for name, value in zip(slo.by, key, strict=True) if value},
            errors.get(key, {}),
            left.get(key),
            recorded.get(key, 0.0),
            runbook,
        )
        for key in keys
    ]


def _key(slo: Slo, series: Series) -> tuple[str, ...]:
    return tuple(series.labels.get(name, "") for name in slo.by)
