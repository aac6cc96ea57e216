"""The YAML of service level objectives: targets, windows, budgets, gauges that alarm, who is told.

Everything that Prometheus and Alertmanager are told is generated from it: see :mod:`.slo_rules` and
:mod:`.alert_routes`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bellrelay.settings.load import check, load
from bellrelay.settings.model import FileModel, Model, Name, allowed, between

__all__ = [
    "BurnWindow",
    "Duration",
    "EventsIndicator",
    "GaugeAlert",
    "Indicator",
    "LatencyIndicator",
    "LimitIndicator",
    "Recording",
    "Routing",
    "Slo",
    "SloFile",
    "UpIndicator",
    "check_slo_file",
    "load_slo_file",
    "seconds",
]

_DURATION = re.compile(r"^(\d+)(s|m|h|d)$")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_METRIC = r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})?$"


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or _DURATION.match(value) is None or int(value[:-1]) == 0:
        raise allowed("a duration of Prometheus in one unit: 30s, 5m, 6h, 3d")
    return value


Duration = Annotated[str, BeforeValidator(_duration), WithJsonSchema({"type": "string"})]
Metric = Annotated[str, Field(pattern=_METRIC)]
Severity = Literal["page", "ticket"]


def seconds(duration: str) -> int:
    """Of a checked :data:`Duration`."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


class UpIndicator(Model):
    """Time in which a gauge of a daemon is 1; a daemon that cannot be scraped counts as 0."""

    gauge: Metric = Field(description="0 or 1, of the daemon itself")
    job: Name = Field(description="job of the scrape configuration that has its targets")


class EventsIndicator(Model):
    """Events, and those of them that are bad; both counters."""

    bad: Metric = Field(description="counter of bad events")
    total: Metric = Field(description="counter of all events")


class LatencyIndicator(Model):
    """Events that took longer than they may."""

    histogram: Metric = Field(description="name without _bucket, _count, with labels if any")
    within_s: Annotated[float, between(0.0, 3600.0, "s")] = Field(
        description="bound of one of its buckets"
    )


class LimitIndicator(Model):
    """Time in which a quantity lies beyond a limit; time without the quantity does not count."""

    expr: str = Field(description="PromQL, a gauge")
    above: float | None = Field(default=None, description="bad above this")
    below: float | None = Field(default=None, description="bad below this")

    @model_validator(mode="after")
    def _one_side(self) -> LimitIndicator:
        if (self.above is None) == (self.below is None):
            raise allowed("either above or below")
        return self


class Indicator(Model):
    """What is good and what is bad: one of these."""

    up: UpIndicator | None = None
    events: EventsIndicator | None = None
    latency: LatencyIndicator | None = None
    limit: LimitIndicator | None = None

    @model_validator(mode="after")
    def _one(self) -> Indicator:
        if sum(x is not None for x in (self.up, self.events, self.latency, self.limit)) != 1:
            raise allowed("one of up, events, latency, limit")
        return self


class Slo(Model):
    """An objective."""

    name: Name = Field(description="its name in rules and alerts")
    title: str = Field(description="what is promised, for people")
    target: Annotated[float, between(0.5, 0.99999)] = Field(
        description="share of time, or of events, that is good"
    )
    by: tuple[Name, ...] = Field(default=("relay",), description="labels, each with its own budget")
    indicator: Indicator
    runbook: Name = Field(description="page in docs/runbooks, without .md")


class BurnWindow(Model):
    """An alert on how fast a budget burns: beyond `burn` in the long window and in the short one.

    The long one says that it matters, the short one that it still goes on (Google, The Site
    Reliability Workbook, chapter 5, 6: multiwindow, multi-burn-rate alerts).
    """

    burn: Annotated[float, between(0.5, 1000.0)] = Field(
        description="times as fast as would use the budget up in `window`"
    )
    long: Duration = Field(description="window that is long enough to matter")
    short: Duration = Field(description="window after whose end the alert ends")
    severity: Severity


class GaugeAlert(Model):
    """An alert on a quantity itself, where traffic is too slow for rates."""

    name: Name = Field(description="its name, in words joined by hyphens")
    title: str = Field(description="what is wrong, for people")
    expr: str = Field(description="PromQL that gives something only while it is wrong")
    hold_off: Duration = Field(description="how long it must be so")
    keep: Duration = Field(default="5m", description="how long it stays after that, against flaps")
    severity: Severity
    runbook: Name = Field(description="page in docs/runbooks, without .md")
    silences: tuple[Name, ...] = Field(
        default=(),
        description="alerts and SLOs that say nothing new while this one fires for the same relay",
    )


class Recording(Model):
    """A quantity that dashboards and alerts share."""

    name: Annotated[str, Field(pattern=r"^bellrelay:[a-z0-9_]+:[a-z0-9_]+$")] = Field(
        description="bellrelay:WHAT:HOW"
    )
    expr: str = Field(description="PromQL")


class Routing(Model):
    """Who is told, and how often."""

    page: str = Field(description="URL of a webhook that wakes a person up")
    ticket: str = Field(description="URL of a webhook that writes a ticket")
    group_wait: Duration = Field(default="30s", description="before the first word on a relay")
    group_interval: Duration = Field(default="5m", description="before a word on what is new")
    repeat_page: Duration = Field(default="4h", description="before a page is said again")
    repeat_ticket: Duration = Field(default="3d", description="before a ticket is said again")


class SloFile(FileModel):
    """Everything that the SLO file says."""

    window: Duration = Field(default="30d", description="over which a budget is spent")
    evaluate: Duration = Field(default="30s", description="how often rules are evaluated")
    runbooks: str = Field(description="where docs/runbooks is read: URL that ends in /")
    recordings: tuple[Recording, ...] = ()
    burn: tuple[BurnWindow, ...] = Field(description="fastest first")
    slos: tuple[Slo, ...]
    gauges: tuple[GaugeAlert, ...] = ()
    routing: Routing

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        names = [s.name for s in self.slos] + [g.name for g in self.gauges]
        out += [
            ("slos, gauges", name, "names that differ")
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
        for at, window in enumerate(self.burn):
            if not seconds(window.short) < seconds(window.long) <= seconds(self.window):
                out.append((f"burn.{at}", window.long, "short < long <= window"))
            # Beyond this, an outage of everything would not fire.
            for slo in self.slos:
                if window.burn * (1.0 - slo.target) >= 1.0:
                    allowed_burn = f"less than {1.0 / (1.0 - slo.target):g}, for {slo.name}"
                    out.append((f"burn.{at}.burn", window.burn, allowed_burn))
        for gauge in self.gauges:
            for other in gauge.silences:
                if other not in names:
                    out.append((f"gauges.{gauge.name}.silences", other, "an alert or SLO of these"))
        if not self.runbooks.endswith("/"):
            out.append(("runbooks", self.runbooks, "a URL that ends in /"))
        return out


def check_slo_file(values: object, origin: str = "configuration") -> SloFile:
    """An SLO file from what the YAML gave. ConfigError: one line per fault."""
    return check(SloFile, values, origin)


def load_slo_file(path: Path) -> SloFile:
    """Read an SLO file. ConfigError: missing, no YAML, or wrong; one line per fault."""
    return load(SloFile, path)
