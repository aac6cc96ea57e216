"""What a report is made of: everything that Prometheus has of some days, asked for by name.

Where nobody measured, there is nothing: a series without values is left out, times without values
are left out of a trace, and every share says of how much of the time it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .prometheus_api import PrometheusApi, Series, Trace
from .slo_file import Slo, SloFile, seconds
from .slo_rules import alert_name, error_ratio

__all__ = ["AlertHistory", "Kept", "ReportData", "Span", "gather"]

_DAY_S = 86400.0
_ALERT_STEP_S = 60.0
_OF_DETECTOR = (
    "sum by (relay, detector) (label_replace(rate(bellrelay_board_total{{counter=~"
    '"({counters})_[0-9]+"}}[{step}]), "detector", "$1", "counter", "[a-z_]+_([0-9]+)"))'
)
_Found = TypeVar("_Found")
_OWN = ("__name__", "alertname", "severity", "alertstate", "instance", "job")


@dataclass(frozen=True)
class Span:
    """The time that a report is about; UTC, seconds. step_s : from point to point of a trace."""

    name: str
    start_s: float
    end_s: float
    step_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s

    @property
    def promql(self) -> str:
        """The same for a range of PromQL."""
        return f"{round(self.seconds)}s"

    @classmethod
    def week(cls, end_s: float) -> Span:
        """Seven days until then, in hours."""
        return cls("week", end_s - 7 * _DAY_S, end_s, 3600.0)

    @classmethod
    def month(cls, end_s: float) -> Span:
        """Thirty days until then, in steps of four hours."""
        return cls("month", end_s - 30 * _DAY_S, end_s, 4 * 3600.0)


@dataclass(frozen=True)
class Kept:
    """An objective in these days, of one relay, link or KME.

    bad : share of what was bad; None: no data. spent : of the budget of the SLO's whole window.
    left : at the end, of that window.
    """

    slo: Slo
    labels: Mapping[str, str]
    bad: float | None
    spent: float | None
    left: float | None


@dataclass(frozen=True)
class AlertHistory:
    """An alert that fired. seconds : how long in all. times : begin and end of each time, UTC s."""

    name: str
    severity: str
    labels: Mapping[str, str]
    seconds: float
    times: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class ReportData:
    """By what the page shows.

    simulated : relays that were twins. kept : objectives. budgets : left over time. measured : by
    SLO name, share of time in which a relay or an endpoint was up, over time, of those with such
    an indicator. recorded : share of the days in which this was recorded at all. ended : blocks
    by state and cause. ended_by_day : the same, a point a day. clicks, outside, live, dark : of
    detectors, over time; dark counts as calibrations measured them. key_bits : made in these
    days. key_rate, errors : over time. overdue : share of the recorded time in which a
    calibration was overdue. last_well : of calibration steps, UTC s.
    """

    span: Span
    simulated: frozenset[str]
    kept: Sequence[Kept]
    budgets: Sequence[Trace]
    measured: Mapping[str, Sequence[Trace]]
    recorded: Mapping[str, Sequence[Series]]
    ended: Sequence[Series]
    ended_by_day: Sequence[Trace]
    clicks: Sequence[Trace]
    outside: Sequence[Trace]
    live: Sequence[Trace]
    dark: Sequence[Trace]
    key_bits: Sequence[Series]
    key_rate: Sequence[Trace]
    errors: Sequence[Trace]
    overdue: Sequence[Series]
    last_well: Sequence[Series]
    alerts: Sequence[AlertHistory]

    @property
    def empty(self) -> bool:
        """Whether nobody measured anything."""
        found = (self.ended, self.clicks, self.key_rate, self.errors, self.budgets)
        return not any((*found, *self.measured.values(), *self.recorded.values()))


async def gather(api: PrometheusApi, file: SloFile, span: Span) -> ReportData:
    """Ask for all of it.

    Raises
    ------
    PrometheusAway, PrometheusRefused
    """
    days, step = span.promql, f"{round(span.step_s)}s"
    up = [slo for slo in file.slos if slo.indicator.up is not None]

    async def now(expr: str) -> list[Series]:
        return await api.query(expr, span.end_s)

    async def trace(expr: str, step_s: float = span.step_s) -> list[Trace]:
        return await api.trace(expr, span.start_s + step_s, span.end_s, step_s)

    def detectors(counters: str) -> str:
        return _OF_DETECTOR.format(counters=counters, step=step)

    kept, measured, recorded, alerts, simulated = await asyncio.gather(
        _kept(api, file, span),
        _by_name(up, lambda s: trace(f"1 - avg_over_time({_bad(s)}[{step}])")),
        _by_name(up, lambda s: now(_recorded(s, file, span))),
        _alerts(api, file, span),
        now(f"max by (relay) (max_over_time(bellrelay_relay_simulated[{days}]))"),
    )
    ended = 'bellrelay_endpoint_blocks_ended_total{state!="unlit"}'
    by = "sum by (link, endpoint, state, cause)"
    bits = "bellrelay_endpoint_key_bits_total"
    slots = 'rate(bellrelay_board_total{{counter="{}"}}[{}])'
    dead = f"sum by (relay) ({slots.format('slots_not_live', step)})"
    all_slots = f"sum by (relay) ({slots.format('slots', step)})"
    found = await asyncio.gather(
        trace("bellrelay:slo_budget_left:ratio"),
        trace(f"{by} (increase({ended}[1d]))", _DAY_S),
        trace(detectors("early|late|outside|dead_time")),
        trace(detectors("outside")),
        trace(f"1 - {dead} / ({all_slots} > 0)"),
        trace(
            "max by (relay, detector) (last_over_time("
            f'bellrelay_relay_dark_counts_per_second{{bound="rate"}}[{step}]))'
        ),
        trace(f"sum by (link, endpoint) (rate({bits}[{step}]))"),
        trace(
            f"avg by (link, endpoint, basis) "
            f"(avg_over_time(bellrelay_endpoint_error_ratio[{step}]))"
        ),
    )
    numbers = await asyncio.gather(
        now(f"{by} (increase({ended}[{days}]))"),
        now(f"sum by (link, endpoint) (increase({bits}[{days}]))"),
        now(f"avg by (relay) (avg_over_time(bellrelay_relay_calibration_overdue[{days}]))"),
        now(
            "max by (relay, step) (last_over_time("
            f"bellrelay_relay_calibration_last_success_timestamp_seconds[{days}]))"
        ),
    )
    budgets, ended_by_day, clicks, outside, live, dark, key_rate, errors = found
    totals, key_bits, overdue, last_well = numbers
    return ReportData(
        span=span,
        simulated=frozenset(s.labels.get("relay", "") for s in simulated if s.value > 0.0),
        kept=kept,
        budgets=budgets,
        measured=measured,
        recorded=recorded,
        ended=totals,
        ended_by_day=ended_by_day,
        clicks=clicks,
        outside=outside,
        live=live,
        dark=dark,
        key_bits=key_bits,
        key_rate=key_rate,
        errors=errors,
        overdue=overdue,
        last_well=last_well,
        alerts=alerts,
    )


def _bad(slo: Slo) -> str:
    return f'bellrelay:slo_bad:now{{slo="{slo.name}"}}'


def _recorded(slo: Slo, file: SloFile, span: Span) -> str:
    evaluations = span.seconds / seconds(file.evaluate)
    return f"count_over_time({_bad(slo)}[{span.promql}]) / {evaluations:.6g}"


async def _by_name(
    slos: Sequence[Slo], ask: Callable[[Slo], Awaitable[_Found]]
) -> dict[str, _Found]:
    found = await asyncio.gather(*map(ask, slos))
    return {slo.name: one for slo, one in zip(slos, found, strict=True)}


async def _kept(api: PrometheusApi, file: SloFile, span: Span) -> list[Kept]:
    bad, left = await asyncio.gather(
        _by_name(file.slos, lambda s: api.query(error_ratio(s, span.promql), span.end_s)),
        api.query("bellrelay:slo_budget_left:ratio", span.end_s),
    )
    return [kept for slo in file.slos for kept in _kept_of(file, slo, span, bad[slo.name], left)]


def _kept_of(
    file: SloFile, slo: Slo, span: Span, bad: Sequence[Series], left: Sequence[Series]
) -> list[Kept]:
    def key(series: Series) -> tuple[str, ...]:
        return tuple(series.labels.get(name, "") for name in slo.by)

    by_key = {key(s): s.value for s in bad}
    left_of = {key(s): s.value for s in left if s.labels.get("slo") == slo.name}
    share = span.seconds / seconds(file.window)
    out = []
    for one in sorted(by_key.keys() | left_of.keys()):
        found = by_key.get(one)
        spent = None if found is None else share * found / (1.0 - slo.target)
        labels = {name: value for name, value in zip(slo.by, one, strict=True) if value}
        out.append(Kept(slo, labels, found, spent, left_of.get(one)))
    return out or [Kept(slo, {}, None, None, None)]


async def _alerts(api: PrometheusApi, file: SloFile, span: Span) -> list[AlertHistory]:
    names = [alert_name(g.name) for g in file.gauges] + [
        f"{alert_name(s.name)}Burn" for s in file.slos
    ]
    firing = f'ALERTS{{alertstate="firing", alertname=~"{"|".join(names)}"}}'
    every_s = float(seconds(file.evaluate))
    step_s = max(_ALERT_STEP_S, every_s)
    counts, traces = await asyncio.gather(
        api.query(f"count_over_time({firing}[{span.promql}])", span.end_s),
        api.trace(
            f"max_over_time({firing}[{round(step_s)}s])", span.start_s + step_s, span.end_s, step_s
        ),
    )

    def key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((k, v) for k, v in labels.items() if k != "__name__"))

    times = {key(t.labels): _times(t.times_s, step_s) for t in traces}
    found = [
        AlertHistory(
            s.labels["alertname"],
            s.labels.get("severity", ""),
            {k: v for k, v in sorted(s.labels.items()) if k not in _OWN},
            s.value * every_s,
            times.get(key(s.labels), ()),
        )
        for s in counts
    ]
    return sorted(found, key=lambda a: (a.severity != "page", -a.seconds, a.name))


def _times(at_s: Sequence[float], step_s: float) -> list[tuple[float, float]]:
    """From points at which it fired, each for the step before, to times."""
    out: list[tuple[float, float]] = []
    for at in at_s:
        if out and at - out[-1][1] < 1.5 * step_s:
            out[-1] = (out[-1][0], at)
        else:
            out.append((at - step_s, at))
    return out
