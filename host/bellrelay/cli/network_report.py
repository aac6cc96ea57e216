"""What `bellrelay network` says: every figure is a model's, and says what it rests on."""

from __future__ import annotations

import math
import statistics
from typing import Any

from bellrelay.control.capacity.assessment import Assessment, Case, Length, Step
from bellrelay.control.capacity.event_model import Loss, PairSeen, Seen
from bellrelay.control.capacity.rates_file import Rates
from bellrelay.control.capacity.resources import Resource
from bellrelay.control.capacity.watched import Spread
from bellrelay.control.network_file import NetworkFile
from bellrelay.keys.kme_config import RateSettings
from bellrelay.relay.config import FanOut

__all__ = ["assumptions", "network_report"]


def network_report(
    found: Assessment, rates: Rates, length: Length, loss: Loss | None, source: str
) -> dict[str, Any]:
    """The object that `network --json` prints."""
    now = found.now
    first = now.paper.first
    cases = [now]
    if found.grown is not now:
        cases.append(found.grown)
    if found.carried is not found.grown:
        cases.append(found.carried)
    return {
        "simulation": True,
        "source": source,
        "seed": length.seed,
        "simulated_seconds": length.seconds,
        "warm_up_seconds": length.warm_up_s,
        "relays": len(now.network.relays),
        "endpoints": len(now.network.sites),
        "pairs": len(now.network.pairs),
        "demand_bits_per_s": sum(p.demand for p in now.network.pairs),
        "currency": now.network.costs.currency,
        "growth": found.growth,
        "first_full": {
            "resource": first.resource.value,
            "about": first.resource.about,
            "name": first.busiest[0],
            "at_demand": first.growth,
        },
        "stuck": None if found.stuck is None else found.stuck.resource.value,
        "cases": [_case(case) for case in cases],
        "steps": [_step(step, found.growth) for step in found.steps],
        "limits": _limits(now),
        "key_per_pair": _pairs(now),
        "loss": None if loss is None else _loss(now, loss),
        "assumptions": assumptions(now.network, rates),
        "rates": rates.model_dump(),
    }


def assumptions(network: NetworkFile, rates: Rates) -> list[str]:
    """All that the figures rest on, as sentences."""
    load, machine = network.load, rates.machine
    copies = min(load.broker_replicas, load.broker_nodes)
    kme, still = rates.kme, rates.standing
    out = [
        "Photons: the closed forms of `bellrelay plan`; counts are the expected ones, no link "
        "drifts or fails but the relay that --lose names.",
        f"Work: as `{rates.command}` measured it on {machine.processor}, {machine.cores} cores, "
        f"Python {machine.python}, {machine.utc}; every core of the network is one of those.",
        "Relays give each pair its share of every turn, as `bellrelay plan` divides time; that a "
        "sender is wanted at two relays at once is counted in the shares, not moment by moment.",
        f"Announcements leave a relay every {load.batch_s:g} s of light, by "
        + (
            f"a broker of {load.broker_nodes} nodes, each message on {copies} of them, streams "
            f"spread evenly; a node writes one message after the other, "
            f"{1e3 * rates.broker.batch_s:.3g} ms each ({rates.broker.source})."
            if load.announcements == "broker"
            else "a stream to every consumer."
        ),
        "Every endpoint follows all relays of its pair, those of fail-over too, and all that these "
        "announce for others.",
        f"A block is {network.finite.pulses:.3g} pairs of pulses, "
        f"{rates.blocks.messages:g} messages that wait for each other at {1e3 * load.peer_rtt_s:g} "
        f"ms of round trip; up to {load.in_flight} in flight, {load.workers} threads compute. "
        "The line between two sites is never full.",
        f"Cores: {load.site_cores} at a site, {load.relay_cores} at a relay where the file names "
        "no other number, shared alike by all that runs there; nothing else runs. With nothing to "
        f"do a relay computes on {still.relay:.3g} of one, an endpoint on {still.endpoint:.3g}, a "
        f"KME on {still.kme:.3g}.",
        f"Applications ask for {load.keys_per_request} key(s) of {load.key_bits} bits, "
        + ("one by one" if load.requests == "poisson" else f"all at once every {load.burst_s:g} s")
        + ", as much as their pair's demand; half of a pair's masters are at either site; slaves "
        "fetch at once. Who finds no key is refused and does not come again.",
        f"A step of a KME is on disk in {1e3 * kme.commit_s:.3g} ms, and all that wait share it; "
        f"{load.stores} KME(s) of a pair at a site.",
        f"At the start there is {load.stored_s:g} s of every pair's demand in store, and blocks "
        "are begun anywhere.",
        f"Costs: those of the file, prices spread over {network.costs.years:g} years; key is what "
        "the plan gives, in every second of the year.",
    ]
    return out


def _case(case: Case) -> dict[str, Any]:
    paper, seen = case.paper, case.seen
    assert seen is not None
    schedule, key_bits = case.flows.schedule, case.network.load.key_bits
    gets = sorted(p.bits_per_s for p in schedule.pairs)
    every = sorted(1.0 / f.blocks_per_s for f in case.flows.flows)
    return {
        "name": case.name,
        "relays": len(case.network.relays),
        "resources": [_resource(case, resource, seen) for resource in paper.full],
        "per_second": {
            "announcements": paper.announcements_per_s,
            "messages": _both(paper.messages_per_s, seen.messages / seen.seconds),
            "deliveries": _both(paper.deliveries_per_s, seen.deliveries / seen.seconds),
            "blocks": _both(paper.blocks_per_s, seen.block_s.number / seen.seconds),
            "requests": _both(
                paper.requests_per_s, sum(p.asked for p in seen.pairs) / seen.seconds
            ),
            "keys": case.keys_per_s,
        },
        "key_bits_per_s": {
            "all": schedule.total_bits_per_s,
            "least": gets[0],
            "median": statistics.median(gets),
            "most": gets[-1],
        },
        "keys_per_s_per_pair": {
            "least": gets[0] / key_bits,
            "median": statistics.median(gets) / key_bits,
            "most": gets[-1] / key_bits,
        },
        "worst_satisfied": schedule.worst,
        "pairs_short": sum(p.satisfied < 1.0 - 1e-6 for p in schedule.pairs),
        "block_every_s": {
            "least": every[0] if every else None,
            "median": statistics.median(every) if every else None,
            "most": every[-1] if every else None,
        },
        "latency_s": {
            "announcements": _spread(seen.delay_s),
            "block": _spread(seen.block_s),
            "get_key": _spread(seen.answer_s),
            "by_key_id": _spread(seen.fetch_s),
        },
        "wait_on_paper_s": {
            "broker": _finite(paper.broker_wait_s),
            "kme": _finite(paper.kme_wait_s),
        },
        "requests": {
            "asked": sum(p.asked for p in seen.pairs),
            "without_key": sum(p.refused for p in seen.pairs),
        },
        "unfinished_blocks": seen.unfinished_blocks,
        "cost": {
            "per_year": case.bill.per_year,
            "per_key": _finite(case.cost_per_key),
            "hours_per_month": case.bill.hours_per_month,
        },
        "events": seen.events,
    }


def _resource(case: Case, resource: Resource, seen: Seen) -> dict[str, Any]:
    full = case.paper.full[resource]
    name, most = full.busiest
    there = seen.busy.get(resource, {})
    waits = seen.waits.get(resource)
    return {
        "resource": resource.value,
        "about": resource.about,
        "number": len(full.of),
        "paper": {"mean": full.mean, "most": most, "busiest": name},
        "events": {
            "mean": sum(there.values()) / len(there) if there else None,
            "most": max(there.values(), default=None),
            "of_busiest": there.get(name),
        },
        "full_at_demand": _finite(full.growth),
        "wait_s": None if waits is None else _spread(waits),
        "longest_queue": seen.longest.get(resource),
    }


def _step(step: Step, growth: float) -> dict[str, Any]:
    case = step.case
    return {
        "full": step.full.resource.value,
        "name": step.full.busiest[0],
        "at_demand": growth * step.at_demand,
        "added": step.addition.text,
        "worst_satisfied": case.flows.schedule.worst,
        "next_full": case.paper.first.resource.value,
        "next_at_demand": growth * case.paper.first.growth,
        "per_year": case.bill.per_year,
        "per_key": _finite(case.cost_per_key),
    }


def _limits(case: Case) -> list[dict[str, Any]]:
    """Defaults of configurations that this network needs more of."""
    out: list[tuple[str, str, float, float]] = []
    load = case.network.load
    if load.announcements == "stream":
        name, most = max(
            ((r, sum(f.values())) for r, f in case.flows.followers.items()), key=lambda x: x[1]
        )
        out.append(("fan_out.max_consumers of a relay", name, most, FanOut().max_consumers))
    asked = [
        (f"{p.a}-{p.b}", r)
        for p, r in zip(case.network.pairs, case.flows.requests_per_s, strict=True)
    ]
    pair, rate = max(asked, key=lambda x: x[1])
    # A master's own requests, and a slave's fetches, count for the same SAE.
    out.append(("limits.requests_per_s of an SAE", pair, rate, RateSettings().requests_per_s))
    return [
        {
            "key": key,
            "where": where,
            "needed": needed,
            "default": default,
            "exceeded": needed > default,
        }
        for key, where, needed, default in out
    ]


def _pairs(case: Case) -> list[dict[str, Any]]:
    key_bits = case.network.load.key_bits
    relays: dict[int, list[str]] = {}
    every: dict[int, float] = {}
    for flow in case.flows.flows:
        relays.setdefault(flow.pair, []).append(flow.hop.relay)
        every[flow.pair] = every.get(flow.pair, 0.0) + flow.blocks_per_s
    return [
        {
            "a": s.pair.a,
            "b": s.pair.b,
            "relays": relays.get(i, []),
            "demand": s.pair.demand,
            "bits_per_s": s.bits_per_s,
            "keys_per_s": s.bits_per_s / key_bits,
            "block_every_s": 1.0 / every[i] if every.get(i) else None,
        }
        for i, s in enumerate(case.flows.schedule.pairs)
    ]


def _loss(case: Case, loss: Loss) -> dict[str, Any]:
    seen = case.seen
    assert seen is not None
    hit = [f.pair for f in case.flows.flows if f.hop.relay == loss.relay]
    left = {
        i for i in hit if any(r != loss.relay for r in case.network.pairs[i].relays)
        or not case.network.pairs[i].relays
    }  # fmt: skip
    of: list[PairSeen] = [seen.pairs[i] for i in hit]
    firsts = [p.first_key_after_loss_s for p in of if p.first_key_after_loss_s is not None]
    return {
        "relay": loss.relay,
        "at_s": loss.at_s,
        "pairs": len(hit),
        "pairs_with_another_relay": len(left),
        "with_key_again": len(firsts),
        "first_key_after_s": {
            "median": statistics.median(firsts) if firsts else None,
            "most": max(firsts, default=None),
        },
        "requests_without_key": sum(p.refused for p in of),
        "requests": sum(p.asked for p in of),
    }


def _both(paper: float, seen: float) -> dict[str, float]:
    return {"paper": paper, "events": seen}


def _spread(spread: Spread) -> dict[str, float | int | None]:
    if not spread.number:
        return {"number": 0, "mean": None, "p50": None, "p99": None, "most": None}
    return {
        "number": spread.number,
        "mean": spread.mean,
        "p50": spread.percentile(50.0),
        "p99": spread.percentile(99.0),
        "most": spread.largest,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
