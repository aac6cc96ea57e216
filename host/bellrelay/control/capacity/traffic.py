"""What flows in a network whose relays divide their time as planned: light, blocks, requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop, hops
from bellrelay.control.network_schedule import Schedule, schedule

__all__ = ["BEAT_S", "Flow", "Traffic", "TrustedRoute", "links", "traffic"]

BEAT_S = 1.0
"""A relay says so often where it stands, lit or not."""

_PS_PER_S = 1e12


class TrustedRoute(ValueError):
    """A network with trusted nodes, which is not what is modelled here."""


@dataclass(frozen=True)
class Flow:
    """A pair at a relay.

    pair : its number in the file. share : of the relay's time. Everything else is of a second or a
    block of the pair's.
    """

    pair: int
    hop: Hop
    share: float
    block_pulses: float
    slot_s: float

    @property
    def block_light_s(self) -> float:
        """Light of a block."""
        return self.block_pulses * self.slot_s

    @property
    def blocks_per_s(self) -> float:
        """On the average, pauses included."""
        return self.share / self.block_light_s

    @property
    def block_announced(self) -> float:
        """Announcements of a block."""
        return self.hop.announced_per_s * self.block_light_s

    @property
    def block_bits(self) -> float:
        """Key of a block."""
        return self.hop.bits_per_s * self.block_light_s


@dataclass(frozen=True)
class Traffic:
    """All flows, and who follows which relay.

    followers : by relay, how many endpoints (two of every pair) at which site follow it, those of
    pairs that would only come to it included. requests_per_s : of every pair, both of its sites
    together.
    """

    network: NetworkFile
    schedule: Schedule
    flows: tuple[Flow, ...]
    followers: Mapping[str, Mapping[str, int]]
    requests_per_s: tuple[float, ...]

    def of_relay(self, name: str) -> list[Flow]:
        """Flows that this relay serves."""
        return [f for f in self.flows if f.hop.relay == name]


def links(network: NetworkFile) -> list[Hop]:
    """Every link that some pair may take.

    Raises
    ------
    TrustedRoute
    """
    if any(site.trusted for site in network.sites):
        raise TrustedRoute("trusted nodes pass key on; `bellrelay plan` counts them, this does not")
    return list(hops(network, wanted={frozenset((p.a, p.b)) for p in network.pairs}))


def traffic(network: NetworkFile, found: list[Hop]) -> Traffic:
    """Flows of a network with these links."""
    planned = schedule(network, found)
    number = {frozenset((p.a, p.b)): i for i, p in enumerate(network.pairs)}
    slot_s = network.senders.slot_period_ps / _PS_PER_S
    flows = [
        Flow(number[frozenset((hop.a, hop.b))], hop, share, network.finite.pulses, slot_s)
        for shares in planned.shares.values()
        for hop, share in shares
    ]
    followers: dict[str, Counter[str]] = {r.name: Counter() for r in network.relays}
    at: dict[int, set[str]] = {}
    for flow in flows:
        at.setdefault(flow.pair, set()).add(flow.hop.relay)
    for i, pair in enumerate(network.pairs):
        for relay in {*pair.relays, *at.get(i, ())} & followers.keys():
            followers[relay][pair.a] += 1
            followers[relay][pair.b] += 1
    load = network.load
    per_request = load.key_bits * load.keys_per_request
    return Traffic(
        network,
        planned,
        tuple(flows),
        followers,
        tuple(p.demand / per_request for p in network.pairs),
    )
