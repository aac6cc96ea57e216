"""What Prometheus is told of an endpoint; no key and no choice is in it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.service.health_server import Status

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
    blocks = CounterMetricFamily(
        "bellrelay_endpoint_blocks", "blocks by state, aborted ones by cause", labels=["state"]
    )
    for state, number in s["pipeline"]["blocks"].items():
        blocks.add_metric([state], number)
    yield blocks
    for name, text, number in (
        ("key_bits", "bits of key stored since the beginning", s["keys"]["bits"]),
        ("alarms", "things that nobody honest does", s["alarms"]),
        ("peer_reconnects", "connections to the peer after the first", s["peer"]["reconnects"]),
    ):
        yield CounterMetricFamily(f"bellrelay_endpoint_{name}", text, value=number)
