"""What /metrics says of a KME: no key, and nothing of what is in one."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from bellrelay.service.health_server import Status

from .request_tally import BOUNDS_S, RequestTally

__all__ = ["kme_metrics", "request_metrics"]


def kme_metrics(s: Status) -> Iterator[Metric]:
    """Metrics of a status as :meth:`.KmeDaemon.status` gives it."""
    gauges = {
        "up": ("1 while the other KME is connected", float(s["state"] == "running")),
        "connections": ("of SAEs", s["connections"]),
        "requests_waiting": ("requests that wait for a round", s["requests_waiting"]),
        "requests_waiting_peak": (
            "the most that waited in the last minute",
            s["requests_waiting_peak"],
        ),
        "keys_to_return": ("reserved, undelivered, not given back yet", s["keys_to_return"]),
        "kek_due": ("1 once another KEK is due", float(s["lifecycle"]["kek_due"])),
        "audit_records": ("records in the audit log", s["audit"]["records"]),
    }
    for name, (text, number) in gauges.items():
        yield GaugeMetricFamily(f"bellrelay_kme_{name}", text, value=number)
    units = GaugeMetricFamily(
        "bellrelay_kme_units",
        "units of key by pair, side and state",
        labels=["pair", "side", "state"],
    )
    low = GaugeMetricFamily(
        "bellrelay_kme_low_water", "1 where less than keys.low_water is left", labels=["pair"]
    )
    own = GaugeMetricFamily(
        "bellrelay_kme_own_free_bits",
        "key that masters here can still be given, by pair; the other KME gives out the rest",
        labels=["pair"],
    )
    for pair, sides in s["pairs"].items():
        low.add_metric([pair], float(pair in s["low_water"]))
        own_free = sides[s["kme_id"]]["free"] if s["kme_id"] in sides else 0
        own.add_metric([pair], own_free * s["unit_bits"])
        for side, counts in sides.items():
            for state, number in counts.items():
                units.add_metric([pair, side, state], number)
    yield units
    yield own
    yield low
    made = {
        age: GaugeMetricFamily(
            f"bellrelay_kme_{age}_key_timestamp_seconds",
            f"when the {age} key that can be given out now was made",
            labels=["pair", "side"],
        )
        for age in ("oldest", "newest")
    }
    for pair, sides in s["freshness"].items():
        for side, times in sides.items():
            for age, family in made.items():
                family.add_metric([pair, side], times[f"{age}_utc_ns"] / 1e9)
    yield from made.values()
    yield GaugeMetricFamily("bellrelay_kme_unit_bits", "bits of a unit", value=s["unit_bits"])
    delivered = CounterMetricFamily(
        "bellrelay_kme_delivered_bits", "key delivered to masters here, by pair", labels=["pair"]
    )
    for pair, bits in s["delivered_bits"].items():
        delivered.add_metric([pair], bits)
    yield delivered
    waiting = GaugeMetricFamily(
        "bellrelay_kme_bridge_waiting", "keys that wait for a key manager", labels=["bridge"]
    )
    stands = GaugeMetricFamily(
        "bellrelay_kme_bridge_fault", "1 while a bridge stands still", labels=["bridge"]
    )
    for bridge, state in s["bridges"].items():
        waiting.add_metric([bridge], state["waiting"])
        stands.add_metric([bridge], float(bool(state["fault"])))
    yield waiting
    yield stands
    for name, text, number in (
        ("blocks", "blocks taken over since the start", s["intake"]["taken"]),
        ("keys_returned", "keys given back since the start", s["keys_returned"]),
        ("expired", "units and keys that expired since the start", s["lifecycle"]["expired"]),
        ("connections_refused", "connections of an SAE beyond its limit", s["refused"]),
        ("alarms", "things that no honest KME does", s["peer"]["alarms"]),
        ("peer_connections", "connections to the other KME", s["peer"]["connections"]),
    ):
        yield CounterMetricFamily(f"bellrelay_kme_{name}", text, value=number)


def request_metrics(tally: RequestTally) -> Iterator[Metric]:
    """Requests by method of the API and code, and how long answers took."""
    requests = CounterMetricFamily(
        "bellrelay_kme_requests", "answers by method and code", labels=["method", "code"]
    )
    for (method, code), number in tally.requests.items():
        requests.add_metric([method, str(code)], number)
    yield requests
    seconds = HistogramMetricFamily(
        "bellrelay_kme_request_seconds", "time to answer", labels=["method"]
    )
    names = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    for method, counts in tally.buckets.items():
        total, buckets = 0, []
        for name, number in zip(names, counts, strict=True):
            total += number
            buckets.append((name, total))
        seconds.add_metric([method], buckets, tally.seconds[method])
    yield seconds
