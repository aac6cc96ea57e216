"""How full everything is, in closed form: `docs/reference/network-model.md` derives each line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bellrelay.control.network_file import NetworkFile

from .rates_file import Rates
from .resources import Resource
from .standing import standing_shares
from .traffic import BEAT_S, Flow, Traffic

__all__ = ["Full", "Paper", "on_paper"]


@dataclass(frozen=True)
class Full:
    """How full the things of a kind are.

    of : by name, the share of its time that each is at work; above 1 it cannot keep up. standing :
    what of it does not grow with demand.
    """

    resource: Resource
    of: Mapping[str, float]
    standing: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Over all of them."""
        return sum(self.of.values()) / len(self.of) if self.of else 0.0

    @property
    def busiest(self) -> tuple[str, float]:
        """The one that fills first."""
        name = max(self.of, key=lambda n: self.of[n], default="none")
        return name, self.of.get(name, 0.0)

    @property
    def growth(self) -> float:
        """Times the load at which the first of them is full; inf: never.

        All loads grow with the demand of all pairs alike; what a relay loses in switching does not,
        nor what processes compute while they have nothing to do.
        """
        name, most = self.busiest
        still = self.standing.get(name, 0.0)
        return (1.0 - still) / (most - still) if most > still else float("inf")


@dataclass(frozen=True)
class Paper:
    """All kinds. kme_wait_s, broker_wait_s : mean wait for the process, of the busiest."""

    full: Mapping[Resource, Full]
    messages_per_s: float
    announcements_per_s: float
    deliveries_per_s: float
    blocks_per_s: float
    requests_per_s: float
    broker_wait_s: float
    kme_wait_s: float

    @property
    def first(self) -> Full:
        """What is full first as demand grows."""
        return max(self.full.values(), key=lambda f: f.busiest[1])


def on_paper(flows: Traffic, rates: Rates) -> Paper:
    """Every resource of a network."""
    network = flows.network
    relays = dict(_relays(flows, rates))
    light = {name: relay.light for name, relay in relays.items()}
    messages = sum(r.batches_per_s for r in relays.values())
    broker, broker_wait = _broker(network, relays, rates)
    following, workers, in_flight, site = _endpoints(flows, relays, rates)
    kme, kme_wait = _kmes(flows, rates)
    for name, work in kme.items():
        site[name.split(" ")[0]] += work
    load = network.load
    site_full = {s.name: site[s.name] / (s.cores or load.site_cores) for s in network.sites}
    relay_full = {
        r.name: relays[r.name].work / (r.cores or load.relay_cores) for r in network.relays
    }
    stores = {
        f"{name} {k}": work / load.stores for name, work in kme.items() for k in range(load.stores)
    }
    full = [
        Full(Resource.LIGHT, light),
        Full(Resource.SENDER, _senders(flows)),
        Full(Resource.RELAY, {name: r.work for name, r in relays.items()}),
        Full(Resource.RELAY_CORES, relay_full),
        Full(Resource.FOLLOWING, following),
        Full(Resource.WORKERS, workers),
        Full(Resource.IN_FLIGHT, in_flight),
        Full(Resource.SITE, site_full),
        Full(Resource.KME, stores),
    ]
    if load.announcements == "broker":
        full.insert(4, Full(Resource.BROKER, broker))
    standing = standing_shares(network, rates)
    full = [_with(f, standing[f.resource]) if f.resource in standing else f for f in full]
    return Paper(
        {f.resource: f for f in full},
        messages,
        sum(r.announced_per_s for r in relays.values()),
        sum(r.batches_per_s * r.followers for r in relays.values()),
        sum(f.blocks_per_s for f in flows.flows),
        sum(flows.requests_per_s),
        broker_wait,
        kme_wait,
    )


def _with(full: Full, standing: Mapping[str, float]) -> Full:
    """The same with what is computed while there is nothing to do."""
    of = {name: share + standing.get(name, 0.0) for name, share in full.of.items()}
    return Full(full.resource, of, standing)


@dataclass(frozen=True)
class _Relay:
    light: float
    work: float
    batches_per_s: float
    announced_per_s: float
    followers: int


def _relays(flows: Traffic, rates: Rates) -> Iterator[tuple[str, _Relay]]:
    """Light wanted / light there is; batches (lit share / batch_s) and what each costs."""
    load, network = flows.network.load, flows.network
    wanted = {r.name: 0.0 for r in network.relays}
    for flow in flows.flows:
        wanted[flow.hop.relay] += _wanted(flows, flow)
    for relay in network.relays:
        mine = flows.of_relay(relay.name)
        there = 1.0 - flows.schedule.settling.get(relay.name, 0.0)
        lit = sum(f.share for f in mine)
        announced = sum(f.share * f.hop.announced_per_s for f in mine)
        batches = _batches_per_s(flows, relay.name)
        followers = sum(flows.followers[relay.name].values())
        work = batches * rates.relay.batch_s + announced * rates.relay.announcement_s
        # A broker is one consumer.
        consumers = 1 if load.announcements == "broker" else followers
        work += consumers * (
            batches * rates.fan_out.batch_s + announced * rates.fan_out.announcement_s
        )
        light = wanted[relay.name] / there if there > 0.0 else float("inf") if lit else 0.0
        yield relay.name, _Relay(light, work, batches, announced, followers)


def _wanted(flows: Traffic, flow: Flow) -> float:
    """Share of time; what a pair gets less of than it wants, it wants all the same."""
    return flow.share / max(flows.schedule.pairs[flow.pair].satisfied, 1e-12)


def _senders(flows: Traffic) -> dict[str, float]:
    out = {s.name: 0.0 for s in flows.network.sites}
    for flow in flows.flows:
        for site in (flow.hop.a, flow.hop.b):
            out[site] += _wanted(flows, flow)
    return out


def _batches_per_s(flows: Traffic, relay: str) -> float:
    """One for every batch_s of light, the last of a window may be short; and one every beat."""
    place = next(r for r in flows.network.relays if r.name == relay)
    batch_s = flows.network.load.batch_s
    mine = flows.of_relay(relay)
    if len(mine) == 1 and mine[0].share > 1.0 - 1e-9:
        return 1.0 / batch_s + 1.0 / BEAT_S
    windows = sum(math.ceil(f.share * place.turn_s / batch_s - 1e-9) for f in mine)
    return windows / place.turn_s + 1.0 / BEAT_S


def _broker(
    network: NetworkFile, relays: Mapping[str, _Relay], rates: Rates
) -> tuple[dict[str, float], float]:
    """Messages x copies / nodes, and what is handed out; M/G/1 of both for the wait."""
    load = network.load
    copies = min(load.broker_replicas, load.broker_nodes)
    share = copies / load.broker_nodes
    used = moment = 0.0
    for relay in relays.values():
        if not relay.batches_per_s:
            continue
        write = rates.broker.seconds(relay.announced_per_s / relay.batches_per_s)
        hand_out = relay.followers * rates.broker.deliver_s
        for per_s, work in (
            (share * relay.batches_per_s, write),
            (relay.batches_per_s / load.broker_nodes, hand_out),
        ):
            used += per_s * work
            moment += per_s * work * work
    wait = moment / 2.0 / (1.0 - used) if used < 1.0 else float("inf")
    return {f"node-{n + 1}": used for n in range(load.broker_nodes)}, wait


def _endpoints(
    flows: Traffic, relays: Mapping[str, _Relay], rates: Rates
) -> tuple[dict[str, float], dict[str, float], dict[str, float], dict[str, float]]:
    network, load = flows.network, flows.network.load
    blocks: dict[int, float] = dict.fromkeys(range(len(network.pairs)), 0.0)
    flight = dict(blocks)
    for flow in flows.flows:
        work = rates.blocks.seconds(flow.block_announced)
        blocks[flow.pair] += flow.blocks_per_s * work
        line_s = rates.blocks.messages * load.peer_rtt_s / 2.0
        flight[flow.pair] += flow.blocks_per_s * (work + line_s)
    following: dict[str, float] = {}
    workers: dict[str, float] = {}
    in_flight: dict[str, float] = {}
    site = {s.name: 0.0 for s in network.sites}
    at: dict[int, set[str]] = {}
    for flow in flows.flows:
        at.setdefault(flow.pair, set()).add(flow.hop.relay)
    for i, pair in enumerate(network.pairs):
        heard = [relays[r] for r in sorted({*pair.relays, *at.get(i, ())} & relays.keys())]
        follow = sum(
            r.batches_per_s * rates.follow.batch_s + r.announced_per_s * rates.follow.announcement_s
            for r in heard
        )
        in_flight[f"{pair.a}-{pair.b}"] = flight[i] / load.in_flight
        for name in (f"{pair.a} ({pair.a}-{pair.b})", f"{pair.b} ({pair.a}-{pair.b})"):
            following[name] = follow
            workers[name] = blocks[i] / load.workers
            site[name.split(" ")[0]] += follow + blocks[i]
    return following, workers, in_flight, site


def _kmes(flows: Traffic, rates: Rates) -> tuple[dict[str, float], float]:
    """Half of a pair's masters are at either site: each KME gets, adopts and fetches for half.

    M/G/1 (Pollaczek and Khinchine) for the wait, of the busiest.
    """
    load, kme = flows.network.load, rates.kme
    works = [r.seconds(load.keys_per_request) for r in (kme.get, kme.adopt, kme.fetch)]
    out: dict[str, float] = {}
    worst = 0.0
    for pair, rate in zip(flows.network.pairs, flows.requests_per_s, strict=True):
        used = rate / 2.0 * sum(works)
        for name in (pair.a, pair.b):
            out[f"{name} ({pair.a}-{pair.b})"] = used
        each, mine = rate / 2.0 / load.stores, used / load.stores
        wait = each * sum(w * w for w in works) / 2.0 / (1.0 - mine) if mine < 1.0 else float("inf")
        worst = max(worst, wait)
    return out, worst
