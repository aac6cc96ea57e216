"""What is added where something is full, and that it helps in the simulation as on paper."""

from __future__ import annotations

from typing import Any

import pytest
from small_city import slow_rates, small_city

from bellrelay.control.capacity.additions import add_for
from bellrelay.control.capacity.assessment import Length, assess
from bellrelay.control.capacity.event_model import EventModel, Loss
from bellrelay.control.capacity.on_paper import Full, on_paper
from bellrelay.control.capacity.resources import Resource
from bellrelay.control.capacity.traffic import links, traffic
from bellrelay.control.network_cost import bill
from bellrelay.control.network_file import NetworkFile

TWO_TURNS = Length(120.0, 5.0, 1)


def full(network: NetworkFile, resource: Resource, **rates: Any) -> Full:
    return on_paper(traffic(network, links(network)), slow_rates(**rates)).full[resource]


@pytest.mark.parametrize("resource", list(Resource), ids=lambda r: r.name.lower())
def test_what_is_added_makes_it_less_full(resource: Resource) -> None:
    network = small_city(announcements="broker", in_flight=4)
    before = full(network, resource)
    addition = add_for(before, network)
    assert addition is not None
    assert addition.text
    after = full(addition.network, resource)
    name = before.busiest[0]
    # One KME of two has a name of its own.
    there = after.of.get(name, after.busiest[1])
    assert there < 0.95 * before.of[name]


def test_a_stream_that_is_too_much_for_a_relay_goes_to_a_broker() -> None:
    network = small_city(announcements="stream")
    addition = add_for(full(network, Resource.RELAY), network)
    assert addition is not None
    assert addition.network.load.announcements == "broker"


def test_an_end_is_told() -> None:
    network = small_city(in_flight=64, workers=256, stores=64)
    for resource in (Resource.IN_FLIGHT, Resource.WORKERS, Resource.KME):
        assert add_for(full(network, resource), network) is None


def test_another_relay_carries_what_one_could_not() -> None:
    """Eight pairs that want more than three relays have: more relays, until it is enough."""
    network = small_city()
    quick = slow_rates(
        broker={"batch_s": 1e-6, "announcement_s": 0, "deliver_s": 0, "source": "nobody"},
        blocks={"block_s": 1e-3, "announced_s": 1e-9, "messages": 2},
        kme={
            **{k: {"request_s": 1e-5, "key_s": 0} for k in ("get", "adopt", "fetch")},
            "commit_s": 1e-4,
        },
    )
    found = assess(network, quick, TWO_TURNS, 25.0)
    assert found.now.flows.schedule.worst == 1.0
    assert found.grown.flows.schedule.worst < 0.9
    assert found.steps
    assert found.steps[0].full.resource is Resource.LIGHT
    assert found.carried.flows.schedule.worst == pytest.approx(1.0, abs=1e-4)
    assert found.stuck is None
    assert len(found.carried.network.relays) > len(network.relays)
    assert found.carried.bill.per_year > found.grown.bill.per_year
    # The simulation says the same: the full relay was lit all the time, and is not any more.
    name = found.steps[0].full.busiest[0]
    assert found.grown.seen is not None
    assert found.carried.seen is not None
    assert found.grown.seen.busy[Resource.LIGHT][name] > 0.97
    assert found.carried.seen.busy[Resource.LIGHT][name] < 0.97


def test_cores_and_brokers_cost_what_the_file_says() -> None:
    network = small_city()
    with_broker = network.with_load(announcements="broker", broker_nodes=5)
    stream = network.with_load(announcements="stream")
    assert bill(with_broker).price - bill(stream).price == 5 * network.costs.broker_node.price
    richer = stream.with_load(site_cores=65)
    assert bill(richer).price - bill(stream).price == 14 * network.costs.core.price


def test_pairs_of_a_lost_relay_have_key_from_another() -> None:
    network = small_city(stored_s=20_000.0)
    found = links(network)
    flows = traffic(network, found)
    relay = flows.flows[0].hop.relay
    hit = [f.pair for f in flows.flows if f.hop.relay == relay]
    rates = slow_rates(blocks={"block_s": 0.5, "announced_s": 0, "messages": 20})
    seen = EventModel(flows, rates, found, loss=Loss(relay, 100.0)).run(3_000.0)
    assert seen.busy[Resource.LIGHT][relay] < 0.1
    assert hit
    for pair in hit:
        assert seen.pairs[pair].moved_s == 100.0
        took = seen.pairs[pair].first_key_after_loss_s
        assert took is not None
        assert took > network.load.silence_s
    assert all(p.moved_s is None for i, p in enumerate(seen.pairs) if i not in hit)
