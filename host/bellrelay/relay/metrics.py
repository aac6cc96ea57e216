"""What Prometheus is told of a relay."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.service.health_server import Status
from bellrelay.wire.geometry import BoardGeometry

__all__ = ["relay_metrics"]


def relay_metrics(s: Status) -> Iterator[Metric]:
    """Metrics of a status as :meth:`RelayDaemon.status` gives it."""
    board = s["board"]
    simulated = None if board is None else float(board["name"] == BoardGeometry.board)
    gauges = {
        "simulated": ("1 while the board is a twin, whose light is none", simulated),
        "up": ("1 while the board is acquiring", float(s["state"] == "running")),
        "heartbeat_age_seconds": ("since the board's last heartbeat", s["heartbeat_age_s"]),
        "live_fraction": ("slots in which every detector could have fired", s["live_fraction"]),
        "log_durable_sequence": ("records durable in the log", s["log"]["durable"]),
        "consumers": ("connections that get announcements", len(s["consumers"])),
        "temperature_celsius": ("of the board", s["temperature_c"]),
    }
    for name, (text, number) in gauges.items():
        if number is not None and not math.isnan(number):
            yield GaugeMetricFamily(f"bellrelay_relay_{name}", text, value=number)
    counters = CounterMetricFamily(
        "bellrelay_board", "counters of the board in this acquisition", labels=["counter"]
    )
    for name, number in s["counters"].items():
        counters.add_metric([name], number)
    yield counters
    received = CounterMetricFamily(
        "bellrelay_announcements_received",
        "announcements that came in this acquisition",
        labels=["outcome"],
    )
    lost = CounterMetricFamily(
        "bellrelay_link_lost", "lost between board and daemon", labels=["what"]
    )
    link = CounterMetricFamily("bellrelay_link", "the serial line", labels=["what"])
    for family, values in (
        (received, s["received"]),
        (lost, s["link_lost"]),
        (link, s["link"]),
    ):
        for name, number in values.items():
            family.add_metric([name], number)
        yield family
    yield from _recent(s["recent"])
    yield from _queues(s)
    yield CounterMetricFamily(
        "bellrelay_gaps", "gaps recorded since the daemon started", value=s["gaps"]
    )
    if s["nats"] is not None:
        yield from _broker(s["nats"])


def _recent(rates: Status) -> Iterator[Metric]:
    peak = GaugeMetricFamily(
        "bellrelay_relay_peak_per_second",
        "highest rate of a single second in the last minute of the board's clock: clicks, and "
        "those that dead time suppressed or that lie outside of windows, by channel; "
        "announcements; slots that are not live; all that was lost",
        labels=["what"],
    )
    mean = GaugeMetricFamily(
        "bellrelay_relay_mean_per_second",
        "the same, the mean of that minute",
        labels=["what"],
    )
    for what, rate in rates.items():
        peak.add_metric([what], rate["peak"])
        mean.add_metric([what], rate["mean"])
    yield peak
    yield mean


def _queues(s: Status) -> Iterator[Metric]:
    now = GaugeMetricFamily(
        "bellrelay_relay_queue",
        "what waits: pieces of the line, batches for the log, bytes of raw tags",
        labels=["queue"],
    )
    peak = GaugeMetricFamily(
        "bellrelay_relay_queue_peak", "the most that waited in the last minute", labels=["queue"]
    )
    for queue, number in s["queues"].items():
        now.add_metric([queue], number["waiting"])
        peak.add_metric([queue], number["peak"])
    yield now
    yield peak
    behind = GaugeMetricFamily(
        "bellrelay_relay_consumer_behind",
        "records durable in the log that a consumer was not sent yet",
        labels=["consumer"],
    )
    # Several connections may show the same certificate: the one that is farthest behind.
    last: dict[str, int] = {}
    for each in s["consumers"]:
        last[each["name"]] = min(each["sequence"], last.get(each["name"], each["sequence"]))
    for name, sequence in last.items():
        behind.add_metric([name], max(0, s["log"]["durable"] - sequence))
    yield behind


def _broker(nats: Status) -> Iterator[Metric]:
    for name, text, value in (
        ("connected", "1 while a broker's server is connected", float(nats["connected"])),
        ("pending_records", "durable in the log and not acknowledged", nats["pending"]),
        ("acknowledged_sequence", "record after the last acknowledged one", nats["sequence"]),
    ):
        yield GaugeMetricFamily(f"bellrelay_relay_broker_{name}", text, value=value)
    for name, text, value in (
        ("messages_published", "sent, those sent again included", nats["published"]),
        ("messages_acknowledged", "that the broker has", nats["acknowledged"]),
        ("reconnects", "connections to a broker after the first", nats["reconnects"]),
    ):
        yield CounterMetricFamily(f"bellrelay_relay_broker_{name}", text, value=value)
