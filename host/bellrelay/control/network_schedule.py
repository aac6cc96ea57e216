"""Who is served when: relays and senders divide their time fairly among the pairs.

A relay serves one hop at a time, and a sender sends to one relay at a time. A pair's key comes over
a route: one hop, or several that meet at trusted nodes, where it is passed on under the next hop's
key. Fair is max-min: the share of its demand that the worst served pair gets is as large as it can
be; then, with that kept, the next worst, and so on (D. Bertsekas, R. Gallager, Data Networks, 2nd
ed., section 6.5.2). Nobody gets more than its demand. Of all such schedules it is the one in which
relays work least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from .network_file import NetworkFile, Pair
from .network_links import Hop

__all__ = ["PairService", "Route", "Schedule", "routes", "schedule"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MOST_HOPS = 4
_MOST_ROUTES = 64
_SLACK = 1e-6
"""Relative; the program's own tolerance is a tenth of it."""


@dataclass(frozen=True)
class Route:
    """Hops from one site of a pair to the other; between them the sites that must be trusted."""

    hops: tuple[Hop, ...]
    trusted: tuple[str, ...]

    @property
    def bits_per_s(self) -> float:
        """Key if all relays served it alone."""
        return min(h.bits_per_s for h in self.hops)


@dataclass(frozen=True)
class PairService:
    """What a pair gets. bits_per_s: key of all routes, each with the key that it carries."""

    pair: Pair
    bits_per_s: float
    routes: tuple[tuple[Route, float], ...]

    @property
    def satisfied(self) -> float:
        """Share of the demand, 0..1."""
        return self.bits_per_s / self.pair.demand


@dataclass(frozen=True)
class Schedule:
    """Shares of time.

    shares: by relay, the share of its time for every hop that it serves. idle, settling: the rest:
    nothing to do, and switching from pair to pair.
    """

    pairs: tuple[PairService, ...]
    shares: Mapping[str, tuple[tuple[Hop, float], ...]]
    settling: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """Share of its demand that the worst served pair gets."""
        return min(p.satisfied for p in self.pairs)

    @property
    def total_bits_per_s(self) -> float:
        """Key of all pairs."""
        return sum(p.bits_per_s for p in self.pairs)

    def busy(self, relay: str) -> float:
        """Share of a relay's time in which it makes key."""
        return sum(share for _, share in self.shares[relay])


def routes(network: NetworkFile, pair: Pair, hops: Sequence[Hop]) -> list[Route]:
    """Routes of a pair, those with the fewest hops first; none with a hop that gives no key.

    Without relays of its own, every one that the sites reach is as good as another. With them the
    pair takes the first that is there and gives key; over trusted nodes it goes only without.
    """
    usable = [h for h in hops if h.bits_per_s > 0.0]
    direct = [h for h in usable if h.joins(pair.a, pair.b)]
    if pair.relays:
        ordered = [h for name in pair.relays for h in direct if h.relay == name]
        return [Route((h,), ()) for h in ordered[:1]]
    trusted = {s.name for s in network.sites if s.trusted} - {pair.a, pair.b}
    found: list[Route] = []
    paths: list[tuple[tuple[str, ...], tuple[Hop, ...]]] = [((pair.a,), ())]
    for _ in range(_MOST_HOPS):
        longer: list[tuple[tuple[str, ...], tuple[Hop, ...]]] = []
        for sites, taken in paths:
            for hop in usable:
                if sites[-1] not in (hop.a, hop.b):
                    continue
                to = hop.b if hop.a == sites[-1] else hop.a
                if to == pair.b:
                    found.append(Route((*taken, hop), sites[1:]))
                elif to in trusted and to not in sites:
                    longer.append(((*sites, to), (*taken, hop)))
        paths = longer
        if len(found) >= _MOST_ROUTES:
            break
    return found[:_MOST_ROUTES]


def schedule(network: NetworkFile, hops: Sequence[Hop]) -> Schedule:
    """The fair schedule of a network whose hops give these rates."""
    direct: dict[frozenset[str], list[Hop]] = {}
    for hop in hops:
        direct.setdefault(frozenset((hop.a, hop.b)), []).append(hop)
    detours = any(site.trusted for site in network.sites)
    choice = [
        routes(network, p, hops if detours else direct.get(frozenset((p.a, p.b)), ()))
        for p in network.pairs
    ]
    problem = _Problem(network, choice)
    flows = problem.fair()
    services, used = [], dict.fromkeys(hops, 0.0)
    at = 0
    for pair, mine in zip(network.pairs, choice, strict=True):
        shares = [(r, float(flows[at + k])) for k, r in enumerate(mine)]
        at += len(mine)
        least = 10.0 * _SLACK * sum(share for _, share in shares)
        kept = tuple((r, share * pair.demand) for r, share in shares if share > least)
        got = sum(f for _, f in kept)
        # The program leaves itself a little slack.
        services.append(
            PairService(pair, pair.demand if got > (1.0 - 1e-5) * pair.demand else got, kept)
        )
        for route, flow in kept:
            for hop in route.hops:
                used[hop] += flow / hop.bits_per_s
    return Schedule(
        tuple(services),
        {
            r.name: tuple((h, u) for h, u in used.items() if h.relay == r.name and u > 0.0)
            for r in network.relays
        },
        problem.settling,
    )


class _Problem:
    """The linear program: what every route carries, under the time of relays and senders.

    Of a pair that takes `slow` times all the time there is, a route's variable is the share of the
    demand times `slow`, so that all numbers are about 1 however scarce time is.
    """

    def __init__(self, network: NetworkFile, choice: Sequence[Sequence[Route]]) -> None:
        all_routes = [(p, r) for p, mine in enumerate(choice) for r in mine]
        self._of_pair = np.zeros((len(network.pairs), len(all_routes)))
        relays = [r.name for r in network.relays]
        sites = [s.name for s in network.sites]
        self._time = np.zeros((len(relays) + len(sites), len(all_routes)))
        self._slow = np.array(
            [
                max(1.0, p.demand / max((r.bits_per_s for r in mine), default=p.demand))
                for p, mine in zip(network.pairs, choice, strict=True)
            ]
        )
        served: dict[str, set[Hop]] = {name: set() for name in relays}
        for column, (p, route) in enumerate(all_routes):
            self._of_pair[p, column] = 1.0
            for hop in route.hops:
                took = network.pairs[p].demand / hop.bits_per_s / float(self._slow[p])
                self._time[relays.index(hop.relay), column] += took
                for site in (hop.a, hop.b):
                    self._time[len(relays) + sites.index(site), column] += took
                served[hop.relay].add(hop)
        self.settling = {
            r.name: min(1.0, len(served[r.name]) * r.settle_s / r.turn_s)
            if len(served[r.name]) > 1
            else 0.0
            for r in network.relays
        }
        limits = [1.0 - self.settling[name] for name in relays]
        self._limits = np.array(limits + [1.0] * len(sites))

    def fair(self) -> Floats:
        """Share of its pair's demand that every route carries."""
        n_routes = self._of_pair.shape[1]
        if not n_routes:
            return np.zeros(0)
        if n_routes == int(self._of_pair.any(axis=1).sum()):
            return self._filled()
        return self.programmed()

    def programmed(self) -> Floats:
        """By linear programs, one for every pair or group of pairs that is held back."""
        n_pairs = len(self._of_pair)
        level = np.zeros(n_pairs)
        rising: Flags = np.asarray(self._of_pair.any(axis=1))
        while rising.any():
            share, held = self._raise(level, rising)
            level[rising] = share
            if share >= 1.0 - _SLACK:
                break
            # Prices of the program: who has one keeps the others from having more, and is done.
            rising = rising & ~held if (rising & held).any() else np.zeros_like(rising)
        carried = self._least_time(level)
        return np.asarray(carried / (self._of_pair.T @ self._slow))

    def _filled(self) -> Floats:
        """The same where no pair has a choice: shares rise together until time runs out for some.

        A thousand pairs take a second; the program above takes minutes.
        """
        took = self._time * (self._of_pair.T @ self._slow)
        share = np.zeros(took.shape[1])
        rising = np.ones(took.shape[1], bool)
        while rising.any():
            wanted = took @ rising.astype(float)
            left = np.maximum(self._limits - took @ np.where(rising, 0.0, share), 0.0)
            with np.errstate(divide="ignore"):
                most = np.where(wanted > 0.0, left / np.where(wanted > 0.0, wanted, 1.0), np.inf)
            level = min(1.0, float(most.min()))
            share[rising] = level
            if level == 1.0:
                break
            full = most <= level * (1.0 + _SLACK)
            rising &= ~(took[full] > 0.0).any(axis=0)
        return share

    def _raise(self, level: Floats, rising: Flags) -> tuple[float, Flags]:
        """The share that all rising pairs can have while the others keep theirs; who limits it."""
        n_routes = self._of_pair.shape[1]
        most = float(self._slow[rising].max())
        cost = np.zeros(n_routes + 1)
        cost[-1] = -1.0
        wanted = np.column_stack((-self._of_pair, np.where(rising, self._slow / most, 0.0)))
        kept = np.where(rising, 0.0, -level * self._slow * (1.0 - _SLACK))
        found = linprog(
            cost,
            np.vstack((np.column_stack((self._time, np.zeros(len(self._time)))), wanted)),
            np.concatenate((self._limits, kept)),
            bounds=[(0.0, None)] * n_routes + [(0.0, most)],
        )
        prices = -np.asarray(found.ineqlin.marginals)[len(self._time) :]
        held = prices > 1e-9 * max(float(prices.max()), 1e-300)
        return float(found.x[-1]) / most, np.asarray(held)

    def _least_time(self, level: Floats) -> Floats:
        found = linprog(
            self._time.sum(axis=0),
            np.vstack((self._time, -self._of_pair)),
            np.concatenate((self._limits, -level * self._slow * (1.0 - 2.0 * _SLACK))),
            bounds=(0.0, None),
        )
        return np.asarray(found.x, np.float64)
