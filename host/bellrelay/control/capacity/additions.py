"""What to add where something is full: one more of it, or less work for it."""

from __future__ import annotations

from dataclasses import dataclass

from bellrelay.control.network_file import NetworkFile

from .on_paper import Full
from .resources import Resource

__all__ = ["Addition", "add_for"]

_MOST_IN_FLIGHT = 64
_MOST_WORKERS = 256
_MOST_STORES = 64
_MOST_BATCH_S = 60.0


@dataclass(frozen=True)
class Addition:
    """A change, in words, and the network that it makes."""

    text: str
    network: NetworkFile


def add_for(full: Full, network: NetworkFile) -> Addition | None:
    """What helps the busiest of these; None: nothing here does."""
    name = full.busiest[0]
    load = network.load
    match full.resource:
        case Resource.LIGHT:
            return _relay_beside(name, network)
        case Resource.SENDER:
            return _sender_beside(name, network)
        case Resource.RELAY if load.announcements == "stream":
            text = "a broker, so that relays serve one consumer each"
            return Addition(text, network.with_load(announcements="broker"))
        case Resource.RELAY | Resource.FOLLOWING:
            longer = 2.0 * load.batch_s
            if longer > _MOST_BATCH_S:
                return None
            return Addition(
                f"batches of {longer:g} s instead of {load.batch_s:g} s",
                network.with_load(batch_s=longer),
            )
        case Resource.RELAY_CORES | Resource.SITE:
            return _more_cores(name, network)
        case Resource.BROKER:
            copies = min(load.broker_replicas, load.broker_nodes)
            nodes = load.broker_nodes + copies
            text = f"{copies} broker nodes: {nodes}, each stream on {copies} of them"
            return Addition(text, network.with_load(broker_nodes=nodes))
        case Resource.WORKERS:
            workers = min(2 * load.workers, _MOST_WORKERS)
            if workers == load.workers:
                return None
            return Addition(
                f"workers of endpoints: {workers} instead of {load.workers}",
                network.with_load(workers=workers),
            )
        case Resource.IN_FLIGHT:
            blocks = min(2 * load.in_flight, _MOST_IN_FLIGHT)
            if blocks == load.in_flight:
                return None
            return Addition(
                f"blocks in flight: {blocks} instead of {load.in_flight}",
                network.with_load(in_flight=blocks),
            )
        case Resource.KME:
            stores = min(2 * load.stores, _MOST_STORES)
            if stores == load.stores:
                return None
            return Addition(
                f"KMEs of a pair at a site: {stores} instead of {load.stores}",
                network.with_load(stores=stores),
            )


def _more_cores(name: str, network: NetworkFile) -> Addition:
    cores = 2 * network.cores_of(name)
    changed = {
        "sites": tuple(
            s.model_copy(update={"cores": cores}) if s.name == name else s for s in network.sites
        ),
        "relays": tuple(
            r.model_copy(update={"cores": cores}) if r.name == name else r for r in network.relays
        ),
    }
    text = f"cores at {name}: {cores} instead of {cores // 2}"
    return Addition(text, network.model_copy(update=changed))


def _sender_beside(name: str, network: NetworkFile) -> Addition | None:
    """Another sender, with an endpoint and fibres of its own, for every second pair of the site."""
    old = next(s for s in network.sites if s.name == name)
    mine = [i for i, p in enumerate(network.pairs) if name in (p.a, p.b)]
    moved = set(sorted(mine, key=lambda i: (-network.pairs[i].demand, i))[1::2])
    if not moved:
        return None  # a pair of its own wants more than a link gives
    new = old.model_copy(update={"name": _fresh(name, {s.name for s in network.sites})})
    pairs = tuple(
        p.model_copy(update={"a" if p.a == name else "b": new.name}) if i in moved else p
        for i, p in enumerate(network.pairs)
    )
    fibres = tuple(
        f.model_copy(update={"site": new.name}) for f in network.fibres if f.site == name
    )
    return Addition(
        f"sender {new.name} beside {name}, with {len(fibres)} fibres and {len(moved)} pairs",
        network.model_copy(
            update={
                "sites": (*network.sites, new),
                "fibres": (*network.fibres, *fibres),
                "pairs": pairs,
            }
        ),
    )


def _fresh(name: str, taken: set[str]) -> str:
    return next(new for n in range(2, len(taken) + 3) if (new := f"{name}-{n}") not in taken)


def _relay_beside(name: str, network: NetworkFile) -> Addition | None:
    """Another relay in the same place, to which every second pair of the full one goes first."""
    old = next(r for r in network.relays if r.name == name)
    fresh = _fresh(name, {r.name for r in network.relays})
    new = old.model_copy(update={"name": fresh, "connect": None})
    mine = [i for i, p in enumerate(network.pairs) if p.relays and p.relays[0] == name]
    moved = set(sorted(mine, key=lambda i: (-network.pairs[i].demand, i))[1::2])
    if mine and not moved:
        return None  # one pair wants more than a link gives
    there = {site for i in moved for site in (network.pairs[i].a, network.pairs[i].b)}
    if not mine:  # pairs that go to any relay that both reach
        there = {f.site for f in network.fibres if f.relay == name}
    fibres = tuple(
        f.model_copy(update={"relay": new.name})
        for f in network.fibres
        if f.relay == name and f.site in there
    )
    pairs = tuple(
        p.model_copy(update={"relays": (new.name, *p.relays)}) if i in moved else p
        for i, p in enumerate(network.pairs)
    )
    text = f"relay {new.name} beside {name}, with {len(fibres)} fibres and {len(moved)} pairs"
    return Addition(
        text,
        network.model_copy(
            update={
                "relays": (*network.relays, new),
                "fibres": (*network.fibres, *fibres),
                "pairs": pairs,
            }
        ),
    )
