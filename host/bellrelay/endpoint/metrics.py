"""What Prometheus is told of an endpoint; no key and no choice is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from bellrelay.service.health_server import Status

from .block import Cause

__all__ = ["endpoint_metrics"]


def endpoint_metrics(s: Status) -> Iterator[Metric]:
    """Metrics of a status as :meth:`EndpointDaemon.status` gives it."""
    gauges = {
        "up": ("1 while relay and peer are connected", float(s["state"] == "running")),
        "blocks_in_work": ("blocks on their way to a key", len(s["pipeline"]["in_work"])),
        "blocks_waiting": ("complete lists that wait", s["pipeline"]["waiting"]),
        "pool_bits": ("one-time key left for tags of ours", s["key_pool"]["bits"]),
        "relay_quarantined": ("1 once the relay broke the rules", float(s["quarantined"])),
    }
    for name, (text, number) in gauges.items():
        yield GaugeMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)
    counts = s["pipeline"]["blocks"]
    ended = CounterMetricFamily(
        "bellrelay_endpoint_blocks_ended",
        "blocks that have ended, without key by cause",
        labels=["state", "cause"],
    )
    ended.add_metric(["stored", ""], counts.get("stored", 0))
    # Also those that never occurred: of a series that begins at 1, nobody can tell an increase.
    causes: dict[str, int] = dict.fromkeys(map(str, Cause), 0)
    causes |= {k.partition(":")[2]: n for k, n in counts.items() if k.startswith("aborted:")}
    for cause, number in causes.items():
        # A standby relay's blocks were never meant to become key.
        state = "unlit" if cause == Cause.UNLIT else "aborted"
        ended.add_metric([state, cause], number)
    yield ended
    under_way = GaugeMetricFamily(
        "bellrelay_endpoint_blocks_under_way", "blocks that have not ended", labels=["state"]
    )
    for state, number in counts.items():
        if state not in ("stored", "aborted") and ":" not in state:
            under_way.add_metric([state], number)
    yield under_way
    yield from _relays(s["relays"])
    yield from _last_block(s["last_block"])
    yield from _key_rate(s["key_rate"])
    yield from _histograms(s["block_histograms"])
    yield from _intensities(s["intensities"])
    yield from _cluster(s["cluster"])
    for name, text, number in (
        ("key_bits", "bits of key stored since the beginning", s["keys"]["bits"]),
        ("alarms", "things that nobody honest does", s["alarms"]),
        (
            "authentication_failures",
            "tags that do not fit, and peers that contradict themselves",
            s["authentication_failures"],
        ),
        ("peer_reconnects", "connections to the peer after the first", s["peer"]["reconnects"]),
    ):
        yield CounterMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)


def _cluster(cluster: Mapping[str, Any] | None) -> Iterator[Metric]:
    if cluster is None:
        return
    for name, text, number in (
        ("cluster_connected", "1 while the cluster's scheduler answers", cluster["connected"]),
        ("cluster_workers", "workers of the cluster", cluster["workers"] or 0),
        ("cluster_calls", "calls under way", cluster["under_way"]),
    ):
        yield GaugeMetricFamily(f"bellrelay_endpoint_{name}", text, value=float(number))
    done = CounterMetricFamily(
        "bellrelay_endpoint_cluster_calls_done",
        "calls by where they were carried out, and why here",
        labels=["where"],
    )
    for where, number in cluster["done"].items():
        done.add_metric([where], number)
    yield done


def _relays(relays: Mapping[str, Any]) -> Iterator[Metric]:
    for name, text, of in (
        ("relay_active", "1 for the relay that light is directed to", None),
        ("relay_connected", "1 while its announcements are followed", "connected"),
        ("relay_usable", "1 while light could be directed there", "usable"),
    ):
        gauge = GaugeMetricFamily(f"bellrelay_endpoint_{name}", text, labels=["relay"])
        for relay_id, each in relays["each"].items():
            value = relay_id == relays["active"] if of is None else each[of]
            gauge.add_metric([relay_id], float(value))
        yield gauge
    behind = GaugeMetricFamily(
        "bellrelay_endpoint_broker_behind_messages",
        "of the relay that wait for us at a broker",
        labels=["relay"],
    )
    connections = CounterMetricFamily(
        "bellrelay_endpoint_relay_reconnects",
        "connections to a relay, or to a broker for it, after the first",
        labels=["relay"],
    )
    for relay_id, each in relays["each"].items():
        if each["broker_behind"] is not None:
            behind.add_metric([relay_id], each["broker_behind"])
        connections.add_metric([relay_id], each["reconnects"])
    if behind.samples:
        yield behind
    yield connections
    yield CounterMetricFamily(
        "bellrelay_endpoint_relay_moves", "from one relay to another", value=relays["moves"]
    )
    yield GaugeMetricFamily(
        "bellrelay_endpoint_light_undirected",
        "1 while the sender does not send to where it should",
        value=float(bool(relays["light_fault"])),
    )


def _last_block(figures: Mapping[str, Any]) -> Iterator[Metric]:
    errors = GaugeMetricFamily(
        "bellrelay_endpoint_error_ratio",
        "QBER of the last block: in Z as corrected, in X of both mu or both nu",
        labels=["basis"],
    )
    for basis in ("z", "x"):
        if figures[f"error_{basis}"] is not None:
            errors.add_metric([basis.upper()], figures[f"error_{basis}"])
    yield errors
    for name, text, number in (
        ("key_bits_per_pulse", "key per pulse pair sent, last key", figures["key_bits_per_pulse"]),
        ("phase_error_upper_ratio", "bound of the last block", figures["phase_error_upper"]),
        ("block_seconds", "from beginning to end, last block", figures["seconds"]),
        ("last_key_timestamp_seconds", "when a key was stored last", _s(figures)),
    ):
        if number is not None:
            yield GaugeMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)


def _key_rate(rates: Mapping[str, float | None]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "bellrelay_endpoint_key_bits_per_second",
        "key stored per second in ten minutes: now, and over the last hour",
        labels=["statistic"],
    )
    for statistic, rate in rates.items():
        if rate is not None:
            family.add_metric([statistic], rate)
    yield family


def _histograms(h: Mapping[str, Any]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "bellrelay_endpoint_block_duration_seconds", "from a block's beginning to its key"
    )
    seconds.add_metric([], *_buckets(h["seconds"]))
    yield seconds
    errors = HistogramMetricFamily(
        "bellrelay_endpoint_block_error_ratio", "QBER of every block, by basis", labels=["basis"]
    )
    for basis, each in h["errors"].items():
        errors.add_metric([basis], *_buckets(each))
    yield errors


def _buckets(h: Mapping[str, Any]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum."""
    names = [*(str(bound) for bound in h["bounds"]), "+Inf"]
    return list(zip(names, map(float, accumulate(h["counts"])), strict=True)), h["sum"]


def _s(figures: Mapping[str, Any]) -> float | None:
    stored_ns: int | None = figures["last_key_utc_ns"]
    return None if stored_ns is None else stored_ns / 1e9


def _intensities(settings: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    variance = GaugeMetricFamily(
        "bellrelay_endpoint_intensity_variance_ratio",
        "relative variance of an intensity, as the power monitor has it",
        labels=["setting"],
    )
    total = CounterMetricFamily(
        "bellrelay_endpoint_intensity_sum", "of all readings, photons per pulse", labels=["setting"]
    )
    readings = CounterMetricFamily(
        "bellrelay_endpoint_intensity_readings", "of the power monitor", labels=["setting"]
    )
    declared = GaugeMetricFamily(
        "bellrelay_endpoint_intensity_declared", "photons per pulse", labels=["setting"]
    )
    for each in settings:
        label = [each["setting"]]
        if each["relative_variance"] is not None:
            variance.add_metric(label, each["relative_variance"])
        total.add_metric(label, each["sum"])
        readings.add_metric(label, each["readings"])
        declared.add_metric(label, each["declared"])
    yield from (variance, total, readings, declared)
