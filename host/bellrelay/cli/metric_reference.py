"""The reference page of metrics, from the functions that make them.

python -m bellrelay.cli.metric_reference > docs/reference/metrics.md

Each function is asked what it says of a status in which everything is known, so that a metric which
a daemon exports stands here, and under the name and with the words that it has there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric

from bellrelay.control.endpoint_tracking import EndpointTracking
from bellrelay.control.interference import Interference
from bellrelay.control.ladder_changes import LadderChanges
from bellrelay.control.laser_watch import LaserWatch
from bellrelay.control.link_watch import LinkWatch
from bellrelay.control.relay_tracking import RelayTracking
from bellrelay.control.scheduled_calibration import ScheduledCalibration
from bellrelay.control.settings_trial import SettingsTrial
from bellrelay.endpoint.block_histograms import BlockHistogram
from bellrelay.endpoint.cluster import scheduler, worker
from bellrelay.endpoint.metrics import endpoint_metrics
from bellrelay.keys.kme_metrics import kme_metrics, request_metrics
from bellrelay.keys.request_tally import RequestTally
from bellrelay.observe.live_view import LiveView
from bellrelay.observe.monitors import Monitors
from bellrelay.observe.span_export import SpanQueue
from bellrelay.relay.metrics import relay_metrics

__all__ = ["MEASURES", "SOURCES", "Exported", "exported", "reference_page"]


class _Word(str):
    """A name among many; where a status has a list of mappings instead, one of them."""

    def __getitem__(self, key: Any) -> Any:
        return _Known() if isinstance(key, str) else super().__getitem__(key)

    def get(self, _key: str, _default: Any = None) -> Any:
        return _Known()


class _Known(float):
    """A number, and a mapping that has every key: a status of which nothing is known but that."""

    def __new__(cls, values: Mapping[str, Any] | None = None) -> _Known:
        known = super().__new__(cls, 1.0)
        known._values = dict(values or {})  # type: ignore[attr-defined]
        return known

    def __getitem__(self, key: str) -> Any:
        return self._values.get(key, _Known())  # type: ignore[attr-defined]

    def get(self, key: str, _default: Any = None) -> Any:
        return self[key]

    def __contains__(self, _key: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[_Word]:
        return iter((_Word("NAME"),))

    keys = __iter__

    def items(self) -> list[tuple[_Word, _Known]]:
        return [(_Word("NAME"), _Known())]

    def values(self) -> list[_Known]:
        return [_Known()]


@dataclass(frozen=True)
class _Source:
    """daemon : that exports. where : key of its YAML that must be there; empty: always."""

    daemon: str
    where: str
    make: Callable[[], Iterable[Metric]]
    module: str


def _of(make: Callable[[Any], Iterable[Metric]], **values: Any) -> Callable[[], Iterable[Metric]]:
    return lambda: make(_Known(values))


def _of_companion(kind: type, **values: Any) -> Callable[[], Iterable[Metric]]:
    return lambda: kind.metrics(object.__new__(kind), _Known(values))  # type: ignore[attr-defined]


def _requests() -> Iterable[Metric]:
    tally = RequestTally()
    tally.add("enc_keys", 200, 0.1)
    return request_metrics(tally)


def _spans() -> Iterable[Metric]:
    queue = object.__new__(SpanQueue)
    queue.sent = queue.dropped = 0
    queue._queue = []  # type: ignore[assignment]
    return queue.metrics()


_HISTOGRAM = BlockHistogram((1.0,)).status()
_BLOCKS = {"seconds": _HISTOGRAM, "errors": {"Z": _HISTOGRAM}}

SOURCES = (
    _Source("relay", "", _of(relay_metrics), relay_metrics.__module__),
    _Source("relay", "tracking", _of_companion(RelayTracking), RelayTracking.__module__),
    _Source(
        "relay",
        "calibration",
        _of_companion(ScheduledCalibration),
        ScheduledCalibration.__module__,
    ),
    _Source(
        "relay", "calibration.trial_minutes", _of_companion(SettingsTrial), SettingsTrial.__module__
    ),
    _Source("relay", "view", _of_companion(LiveView), LiveView.__module__),
    _Source(
        "endpoint",
        "",
        _of(endpoint_metrics, block_histograms=_BLOCKS, key_rate={"median": 1.0}),
        endpoint_metrics.__module__,
    ),
    _Source("endpoint", "", _of_companion(Interference), Interference.__module__),
    _Source(
        "endpoint",
        "watch",
        _of_companion(LinkWatch, active=(), known=(("FAULT", "SUBJECT"),)),
        LinkWatch.__module__,
    ),
    _Source("endpoint", "watch.laser", _of_companion(LaserWatch), LaserWatch.__module__),
    _Source("endpoint", "tracking", _of_companion(EndpointTracking), EndpointTracking.__module__),
    _Source("endpoint", "changes", _of_companion(LadderChanges), LadderChanges.__module__),
    _Source("relay, endpoint", "monitors", _of_companion(Monitors), Monitors.__module__),
    _Source("KME", "", _of(kme_metrics), kme_metrics.__module__),
    _Source("KME", "", _requests, request_metrics.__module__),
    _Source("relay, endpoint, KME", "traces", _spans, SpanQueue.__module__),
    _Source("cluster scheduler", "", _of(scheduler._metrics), scheduler.__name__),
    _Source("cluster worker", "", _of(worker._metrics), worker.__name__),
)


@dataclass(frozen=True)
class Exported:
    """A metric as Prometheus has it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str
    daemon: str
    where: str

    @property
    def unit(self) -> str:
        """Of its values."""
        for end, unit in _UNITS:
            if self.name.removesuffix("_total").endswith(end):
                return unit
        return _UNIT_OF.get(self.name, "1")


_UNITS = (
    ("_timestamp_seconds", "s since 1970, UTC"),
    ("_bits_per_second", "bit/s"),
    ("_per_second", "1/s"),
    ("_ps_per_s", "ps/s"),
    ("_ps_per_s_sigma", "ps/s"),
    ("_seconds", "s"),
    ("_seconds_sigma", "s"),
    ("_celsius", "°C"),
    ("_watts", "W"),
    ("_ghz", "GHz"),
    ("_hertz", "Hz"),
    ("_meters", "m"),
    ("_ppm", "1e-6"),
    ("_decibels", "dB"),
    ("_ps", "ps"),
    ("_ps_sigma", "ps"),
    ("_bits", "bit"),
    ("_bytes", "B"),
    ("_ratio", "1"),
    ("_per_pulse", "bit per pulse pair"),
)
_UNIT_OF = {
    "bellrelay_endpoint_intensity_sum_total": "photons per pulse",
    "bellrelay_endpoint_intensity_declared": "photons per pulse",
}


@dataclass(frozen=True)
class _Measure:
    """names : metrics, or recording rules (with a colon)."""

    number: str
    title: str
    names: tuple[str, ...]


MEASURES = (
    _Measure(
        "M1",
        "Secret key rate, median and 95 % quantile over an hour",
        (
            "bellrelay_endpoint_key_bits_total",
            "bellrelay_endpoint_key_bits_per_second",
            "bellrelay:key_bits_per_second:rate10m",
            "bellrelay:key_bits_per_second:median1h",
            "bellrelay:key_bits_per_second:p95_1h",
        ),
    ),
    _Measure(
        "M2",
        "Raw detection rate",
        (
            "bellrelay_board_total",
            "bellrelay_relay_peak_per_second",
            "bellrelay_relay_mean_per_second",
            "bellrelay:clicks_per_second:rate1m",
            "bellrelay:clicks_per_second:rate5m",
        ),
    ),
    _Measure(
        "M3", "Bell success ratio", ("bellrelay_board_total", "bellrelay:bell_success:ratio5m")
    ),
    _Measure(
        "M4",
        "QBER",
        ("bellrelay_endpoint_error_ratio", "bellrelay_endpoint_block_error_ratio"),
    ),
    _Measure("M5", "Relay availability", ("bellrelay_relay_up", "bellrelay_endpoint_relay_usable")),
    _Measure("M6", "Synchronisation jitter", ("bellrelay_relay_sync_jitter_seconds",)),
    _Measure(
        "M7",
        "Authentication failure rate",
        ("bellrelay_endpoint_authentication_failures_total", "bellrelay_kme_requests_total"),
    ),
    _Measure(
        "M8",
        "Impact of dead time",
        (
            "bellrelay_relay_live_fraction",
            "bellrelay_board_total",
            "bellrelay:not_live:ratio5m",
            "bellrelay:suppressed:ratio5m",
        ),
    ),
    _Measure(
        "M9", "Variance of decoy intensities", ("bellrelay_endpoint_intensity_variance_ratio",)
    ),
    _Measure(
        "M10",
        "Key issuance latency",
        ("bellrelay_kme_request_seconds", "bellrelay:key_issuance_seconds:p95_5m"),
    ),
    _Measure(
        "",
        "Visibility of the interference",
        ("bellrelay_endpoint_visibility", "bellrelay_relay_scan_visibility"),
    ),
    _Measure(
        "",
        "Dark counts",
        ("bellrelay_relay_dark_counts_per_second", "bellrelay_relay_peak_per_second"),
    ),
    _Measure(
        "",
        "Losses, by cause",
        (
            "bellrelay_board_total",
            "bellrelay_link_lost_total",
            "bellrelay_gaps_total",
            "bellrelay_endpoint_blocks_ended_total",
        ),
    ),
    _Measure(
        "",
        "Depth of queues",
        (
            "bellrelay_relay_queue",
            "bellrelay_relay_queue_peak",
            "bellrelay_relay_consumer_behind",
            "bellrelay_endpoint_blocks_waiting",
            "bellrelay_kme_requests_waiting",
            "bellrelay_kme_requests_waiting_peak",
            "bellrelay_kme_bridge_waiting",
        ),
    ),
    _Measure(
        "",
        "Freshness of key",
        (
            "bellrelay_endpoint_last_key_timestamp_seconds",
            "bellrelay_kme_newest_key_timestamp_seconds",
            "bellrelay_kme_oldest_key_timestamp_seconds",
            "bellrelay:key_left:seconds",
        ),
    ),
    _Measure(
        "",
        "Levels of pools",
        (
            "bellrelay_endpoint_pool_bits",
            "bellrelay_kme_units",
            "bellrelay_kme_own_free_bits",
            "bellrelay_kme_unit_bits",
            "bellrelay_kme_low_water",
            "bellrelay:key_left:bits",
        ),
    ),
    _Measure(
        "",
        "Monitors of power and spectrum",
        ("bellrelay_monitor_beyond_limits", "bellrelay_monitor_age_seconds"),
    ),
)

_SPIKES = (
    (
        "Rates at the relay",
        "`bellrelay_relay_peak_per_second`: the highest second of the last minute",
        "`bellrelay_relay_mean_per_second`; `rate()` of `bellrelay_board_total`",
    ),
    (
        "What waits at the relay",
        "`bellrelay_relay_queue_peak`: the most in the last minute",
        "`bellrelay_relay_queue`",
    ),
    (
        "Error rates and times of blocks",
        "`bellrelay_endpoint_block_error_ratio`, `bellrelay_endpoint_block_duration_seconds`: "
        "histograms of every block",
        "`bellrelay_endpoint_error_ratio`, `bellrelay_endpoint_block_seconds`: the last block",
    ),
    (
        "Requests for key",
        "`bellrelay_kme_request_seconds`: a histogram of every request; "
        "`bellrelay_kme_requests_waiting_peak`",
        "`bellrelay:key_issuance_seconds:p95_5m`, `bellrelay_kme_requests_waiting`",
    ),
)

_HEAD = """# Metrics

What the daemons say at `/metrics`, on the address of `health.listen`, in the text form of
Prometheus. No metric has a key, a bit, a choice or a seed in it. Counters are of the daemon's life,
but for those of the board and of its announcements, which are of the acquisition that runs
([each of them](wire.md#counters)), and for an endpoint's blocks and bits of key, which are those of
its store. This page is made by `python -m bellrelay.cli.metric_reference`, which asks the functions
that the daemons ask.

Labels `relay`, `link` and `kme`, by which rules and dashboards tell daemons apart, come from
Prometheus' own configuration:
[prometheus.example.yml](../../deploy/prometheus/prometheus.example.yml). A Prometheus agent beside
the daemons keeps what a collector that is away has missed, and sends it later:
[agent.example.yml](../../deploy/prometheus/agent.example.yml). Names with a colon are recording
rules of [slo.yaml](../../deploy/slo.yaml).

## What is measured, and where

| | Measure | Metrics |
|---|---|---|
"""

_SPIKE_HEAD = """
## High-resolution and coarse forms

A scrape every quarter of a minute sees no burst of a second. What spikes has a form in which
nothing between two scrapes is lost, as long as somebody asks once a minute.

| | High resolution | Coarse |
|---|---|---|
"""

_COST = """
## What metrics and traces cost

Nothing is counted for the sake of metrics where announcements or blocks pass: a scrape reads what
the daemon knows anyway. `python -m bench metrics_cost` measures it in processor time; these figures
are of a virtual machine of two cores (2026-11-25):

| Asked once a second | Of a core |
|---|---|
| Relay | 0.07 % |
| Endpoint with 100,000 blocks behind it | 0.14 % |
| KME with 20,000 units | 0.11 % |

Held against their work, in 24 pairs of turns with and without scrapes, with the standard errors of
their medians: a relay that takes announcements to its log as fast as it can, 8.7 million in a
second of processor time, takes 0.997 +- 0.033 of that while it is asked ten times a second; two
endpoints that make key of blocks of 600,000 announcements, of 0.16 s each, come at 0.970 +- 0.031
of their rate while an endpoint with 100,000 blocks behind it is asked nine times a second in the
same process. One scrape a second costs 0.0 +- 0.3 and 0.3 +- 0.3 %. Others worked on the machine,
hence the errors.

[Traces](traces.md), where they are on, are measured by `python -m bench trace_cost`. A span takes
52 us to make and to send, a request of spans 1.7 ms, one a second: with the 21 spans of a block
and two endpoints that make a block of 600,000 announcements every 0.18 s that is 0.9 % of what
they compute, and less of larger blocks. A frame of announcements takes a relay 0.3 us more, 0.5 %.
Pairs of turns scatter by more than that: 0.95 +- 0.06 of the rate without traces for the
endpoints, 0.98 +- 0.03 for the relay.

## Every metric
"""


def exported() -> list[Exported]:
    """Every metric of every daemon."""
    found: dict[str, Exported] = {}
    for source in SOURCES:
        for family in source.make():
            kind = family.type
            name = f"{family.name}_total" if kind == "counter" else family.name
            labels = {k for s in family.samples for k in s.labels} - {"le"}
            labels |= set(getattr(family, "_labelnames", ()))
            found.setdefault(
                name,
                Exported(
                    name,
                    kind,
                    tuple(sorted(labels)),
                    family.documentation.rstrip("."),
                    source.daemon,
                    source.where,
                ),
            )
    return list(found.values())


def _measures_of(name: str) -> str:
    return ", ".join(m.number for m in MEASURES if m.number and name in m.names)


def _rows(metrics: Iterable[Exported]) -> Iterator[str]:
    for m in metrics:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        yield (
            f"| `{m.name}` | {m.kind} | {m.unit} | {labels} | {_measures_of(m.name)} | {m.about} |"
        )


def reference_page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD]
    for measure in MEASURES:
        names = ", ".join(f"`{name}`" for name in measure.names)
        parts.append(f"| {measure.number} | {measure.title} | {names} |\n")
    parts.append(_SPIKE_HEAD)
    parts += [f"| {what} | {fine} | {coarse} |\n" for what, fine, coarse in _SPIKES]
    parts.append(_COST)
    places: dict[tuple[str, str], list[Exported]] = {}
    for metric in exported():
        places.setdefault((metric.daemon, metric.where), []).append(metric)
    for (daemon, where), metrics in places.items():
        title = f"{daemon[0].upper()}{daemon[1:]}" + (f", with `{where}`" if where else "")
        parts.append(
            f"\n### {title}\n\n| Metric | Type | Unit | Labels | Measure | Meaning |\n"
            "|---|---|---|---|---|---|\n"
        )
        parts.append("\n".join(_rows(metrics)) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
