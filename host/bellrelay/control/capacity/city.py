"""A city that is not there: relays, endpoints around them, and pairs that want key.

Places are drawn from a seed, so that the same numbers give the same city. What a fibre, a detector
and a sender are like is written in the file that comes out, to be changed by whoever knows better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bellrelay.control.network_file import NetworkFile
from bellrelay.settings.load import check

__all__ = ["City", "city"]

_STEP_KM = 5
_WAY = 1.3
"""A fibre is longer than the crow flies."""


@dataclass(frozen=True)
class City:
    """What is drawn.

    relays, endpoints, pairs : how many; pairs None: as many as endpoints. demand : bits of key per
    second and pair. side_km : of the square in which everything lies; None: so that there is a
    relay in every 25 square km. seed : of the places and of who wants key with whom.
    """

    relays: int
    endpoints: int
    pairs: int | None = None
    demand: float = 256.0
    side_km: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if self.relays < 1 or self.endpoints < 2:
            raise ValueError("at least one relay and two endpoints")


def city(wanted: City) -> NetworkFile:
    """Its network. ValueError: more pairs than there can be."""
    return check(NetworkFile, city_values(wanted), f"a city of seed {wanted.seed}")


def city_values(wanted: City) -> dict[str, Any]:
    """The same as a YAML has it.

    Relays stand near the points of a grid, endpoints anywhere. An endpoint has fibres to the two
    relays that are nearest. A pair is two endpoints with a relay in common; the nearest to both
    comes first, and the other one, if it is common as well, is there if that is lost.
    """
    rng = random.Random(wanted.seed)
    side = wanted.side_km or 5.0 * math.sqrt(wanted.relays)
    columns = math.ceil(math.sqrt(wanted.relays))
    rows = math.ceil(wanted.relays / columns)
    width = max(3, len(str(max(wanted.relays, wanted.endpoints) - 1)))
    relays = {}
    for n in range(wanted.relays):
        x, y = n % columns + rng.uniform(0.3, 0.7), n // columns + rng.uniform(0.3, 0.7)
        relays[f"r{n:0{width}}"] = (side * x / columns, side * y / rows)
    sites = {
        f"e{n:0{width}}": (rng.uniform(0.0, side), rng.uniform(0.0, side))
        for n in range(wanted.endpoints)
    }
    reach: dict[str, list[str]] = {}
    for site, place in sites.items():
        reach[site] = sorted(relays, key=lambda r: math.dist(place, relays[r]))[:2]
    return {
        "sites": [{"name": name} for name in sites],
        # A turn in a minute or so: a pair does not wait an hour for its first key.
        "relays": [
            {"name": name, "detectors": "snspd", "turn_s": 60.0, "settle_s": 0.5} for name in relays
        ],
        "fibres": [
            {
                "site": site,
                "relay": relay,
                "length_km": _fibre_km(sites[site], relays[relay]),
                "loss": 1.5,
            }
            for site, near in reach.items()
            for relay in near
        ],
        "pairs": _pairs(wanted, sites, relays, reach, rng),
        "detectors": [
            {
                "name": "snspd", "efficiency": 0.8, "dark_count_rate": 50, "dead_time_ps": 40_000,
                "price": 45_000, "per_year": 2_500, "hours_per_month": 1,
            }
        ],
        "senders": {
            "slot_period_ps": 4_000,
            "window_ps": 400,
            "ladder": {"s": 0.4, "mu": 0.3, "nu": 0.05, "p_s": 0.6, "p_mu": 0.05, "p_nu": 0.25},
        },
        "finite": {"pulses": 2.0e9},
        "costs": {
            "currency": "EUR",
            "years": 5,
            "hour": 90,
            "sender": {"price": 60_000, "per_year": 3_000, "hours_per_month": 2},
            "relay": {"price": 50_000, "per_year": 6_000, "hours_per_month": 4},
            "fibre": {"per_km_year": 400, "hours_per_month": 0.5},
            "core": {"price": 150, "per_year": 60},
            "broker_node": {"price": 3_000, "per_year": 1_000, "hours_per_month": 1},
        },
        "load": {"announcements": "broker"},
    }  # fmt: skip


def _fibre_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """In whole steps, so that thousands of links are some dozen different ones."""
    return float(_STEP_KM * max(1, math.ceil(_WAY * math.dist(one, other) / _STEP_KM)))


def _pairs(
    wanted: City,
    sites: dict[str, tuple[float, float]],
    relays: dict[str, tuple[float, float]],
    reach: dict[str, list[str]],
    rng: random.Random,
) -> list[dict[str, Any]]:
    number = wanted.endpoints if wanted.pairs is None else wanted.pairs
    near: dict[tuple[str, ...], list[str]] = {}
    for site, mine in reach.items():
        if len(mine) == 2:
            near.setdefault(tuple(sorted(mine)), []).append(site)
        for relay in mine:
            near.setdefault((relay,), []).append(site)
    # With two relays in common first: where one is lost, there is the other.
    twice = {(a, b) for both, there in near.items() if len(both) == 2 for a, b in _twos(there)}
    once = {two for both, there in near.items() if len(both) == 1 for two in _twos(there)} - twice
    if number > len(twice) + len(once):
        raise ValueError(f"{number} pairs, and {len(twice) + len(once)} have a relay in common")
    chosen = rng.sample(sorted(twice), min(number, len(twice)))
    chosen = sorted(chosen + rng.sample(sorted(once), number - len(chosen)))
    out = []
    for a, b in chosen:
        common = sorted(
            set(reach[a]) & set(reach[b]),
            key=lambda r: math.dist(sites[a], relays[r]) + math.dist(sites[b], relays[r]),
        )
        out.append({"a": a, "b": b, "demand": wanted.demand, "relays": common})
    return out


def _twos(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return combinations(sorted(names), 2)
