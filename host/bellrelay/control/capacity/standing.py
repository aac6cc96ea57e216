"""What processes compute while they have nothing to do: shares of what there is of a resource."""

from __future__ import annotations

from collections.abc import Mapping

from bellrelay.control.network_file import NetworkFile

from .rates_file import Rates
from .resources import Resource

__all__ = ["standing_shares"]


def standing_shares(network: NetworkFile, rates: Rates) -> dict[Resource, Mapping[str, float]]:
    """By resource and name. It does not grow with demand; other resources have none."""
    load, each = network.load, rates.standing
    site = {s.name: 0.0 for s in network.sites}
    endpoints: dict[str, float] = {}
    kmes: dict[str, float] = {}
    for pair in network.pairs:
        for name in (pair.a, pair.b):
            side = f"{name} ({pair.a}-{pair.b})"
            endpoints[side] = each.endpoint
            kmes |= {f"{side} {k}": each.kme for k in range(load.stores)}
            site[name] += each.endpoint + load.stores * each.kme
    return {
        Resource.RELAY: {r.name: each.relay for r in network.relays},
        Resource.RELAY_CORES: {
            r.name: each.relay / (r.cores or load.relay_cores) for r in network.relays
        },
        Resource.FOLLOWING: endpoints,
        Resource.KME: kmes,
        Resource.SITE: {s.name: site[s.name] / (s.cores or load.site_cores) for s in network.sites},
    }
