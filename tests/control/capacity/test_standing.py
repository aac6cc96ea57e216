"""What processes compute while they have nothing to do: it is there, and grows with nothing."""

from __future__ import annotations

import pytest
from small_city import slow_rates, small_city

from bellrelay.control.capacity.event_model import EventModel
from bellrelay.control.capacity.on_paper import Full, Paper, on_paper
from bellrelay.control.capacity.rates_file import Rates, Standing
from bellrelay.control.capacity.resources import Resource
from bellrelay.control.capacity.traffic import links, traffic

STANDING = Standing(relay=0.05, endpoint=0.03, kme=0.02)


def rates(standing: Standing) -> Rates:
    return slow_rates().model_copy(update={"standing": standing})


def paper(standing: Standing, **load: object) -> Paper:
    network = small_city(**load)
    return on_paper(traffic(network, links(network)), rates(standing))


@pytest.mark.parametrize("stores", [1, 2])
def test_every_process_computes_so_much_more(stores: int) -> None:
    network = small_city(stores=stores)
    without, there = paper(Standing(), stores=stores), paper(STANDING, stores=stores)
    more = {
        r: {name: there.full[r].of[name] - share for name, share in full.of.items()}
        for r, full in without.full.items()
    }
    assert list(more[Resource.RELAY].values()) == pytest.approx([0.05] * len(more[Resource.RELAY]))
    assert list(more[Resource.FOLLOWING].values()) == pytest.approx(
        [0.03] * len(more[Resource.FOLLOWING])
    )
    assert list(more[Resource.KME].values()) == pytest.approx([0.02] * len(more[Resource.KME]))
    # A site has all of its pairs' endpoints and KMEs, on all of its cores.
    for site in network.sites:
        pairs = sum(site.name in (p.a, p.b) for p in network.pairs)
        expected = pairs * (0.03 + stores * 0.02) / network.cores_of(site.name)
        assert more[Resource.SITE][site.name] == pytest.approx(expected)
    for resource in (Resource.LIGHT, Resource.SENDER, Resource.WORKERS, Resource.IN_FLIGHT):
        assert not any(more[resource].values())
    # Waits are of what comes, and that is the same.
    assert there.kme_wait_s == without.kme_wait_s


def test_events_have_the_same() -> None:
    network = small_city()
    found = links(network)
    flows = traffic(network, found)
    seen = [
        EventModel(flows, rates(s), found, 3).run(60.0, 10.0).busy for s in (Standing(), STANDING)
    ]
    for resource, shares in seen[0].items():
        still = paper(STANDING).full[resource].standing
        for name, share in shares.items():
            assert seen[1][resource][name] == pytest.approx(share + still.get(name, 0.0))


def test_what_does_not_grow_with_demand_leaves_less_for_what_does() -> None:
    full = Full(Resource.KME, {"a": 0.5, "b": 0.2}, {"a": 0.2, "b": 0.2})
    assert full.growth == pytest.approx(0.8 / 0.3)
    assert Full(Resource.KME, {"a": 0.5}).growth == pytest.approx(2.0)
    assert Full(Resource.KME, {"a": 0.2}, {"a": 0.2}).growth == float("inf")
