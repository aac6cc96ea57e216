"""The closed forms against the events, where everything is busy but nothing is full."""

from __future__ import annotations

import pytest
from small_city import slow_rates, small_city

from bellrelay.control.capacity.event_model import EventModel, Seen
from bellrelay.control.capacity.on_paper import Paper, on_paper
from bellrelay.control.capacity.resources import Resource
from bellrelay.control.capacity.traffic import TrustedRoute, links, traffic
from bellrelay.control.network_file import NetworkFile
from bellrelay.settings.load import check

RATES = slow_rates()


def both(network: NetworkFile, seconds: float, seed: int = 3) -> tuple[Paper, Seen]:
    found = links(network)
    flows = traffic(network, found)
    return on_paper(flows, RATES), EventModel(flows, RATES, found, seed).run(seconds, 600.0)


@pytest.fixture(scope="module")
def busy() -> tuple[Paper, Seen]:
    return both(small_city(announcements="broker", stored_s=3_000.0), 9_000.0)


@pytest.mark.parametrize("resource", list(Resource), ids=lambda r: r.name.lower())
def test_how_full_a_thing_is(busy: tuple[Paper, Seen], resource: Resource) -> None:
    """Means of all of a kind within 4 %, single ones within what chance allows."""
    paper, seen = busy
    full, there = paper.full[resource], seen.busy[resource]
    assert full.of.keys() == there.keys()
    assert full.mean > 0.0005, "nothing is seen of what does nothing"
    assert sum(there.values()) / len(there) == pytest.approx(full.mean, rel=0.04)
    for name, share in full.of.items():
        assert there[name] == pytest.approx(share, rel=0.2)


def test_what_flows(busy: tuple[Paper, Seen]) -> None:
    paper, seen = busy
    assert seen.messages / seen.seconds == pytest.approx(paper.messages_per_s, rel=0.01)
    assert seen.deliveries / seen.seconds == pytest.approx(paper.deliveries_per_s, rel=0.01)
    assert seen.block_s.number / seen.seconds == pytest.approx(paper.blocks_per_s, rel=0.05)
    asked = sum(pair.asked for pair in seen.pairs)
    assert asked / seen.seconds == pytest.approx(paper.requests_per_s, rel=0.03)
    assert seen.unfinished_blocks < 5


def test_key_comes_as_the_plan_has_it(busy: tuple[Paper, Seen]) -> None:
    _, seen = busy
    made = sum(pair.bits for pair in seen.pairs) / seen.seconds
    assert made == pytest.approx(8 * 200.0, rel=0.05)
    assert not any(pair.refused for pair in seen.pairs)


def test_who_waits_for_a_kme_waits_as_pollaczek_and_khinchine_say(
    busy: tuple[Paper, Seen],
) -> None:
    """Adopts and fetches come out of the other KME, not quite at random: within a tenth."""
    paper, seen = busy
    assert paper.full[Resource.KME].mean > 0.3
    assert seen.waits[Resource.KME].mean == pytest.approx(paper.kme_wait_s, rel=0.1)


def test_a_stream_costs_the_relay_what_the_broker_would() -> None:
    paper, seen = both(small_city(announcements="stream"), 3_000.0)
    assert Resource.BROKER not in paper.full
    assert Resource.BROKER not in seen.busy
    for resource in (Resource.RELAY, Resource.FOLLOWING):
        there = seen.busy[resource]
        mean = sum(there.values()) / len(there)
        assert mean == pytest.approx(paper.full[resource].mean, rel=0.05)
    broker = on_paper(traffic(small_city(announcements="broker"), links(small_city())), RATES)
    assert paper.full[Resource.RELAY].mean > 2.0 * broker.full[Resource.RELAY].mean


def test_the_same_seed_is_the_same_run() -> None:
    network = small_city()
    one, same, other = (both(network, 200.0, seed)[1] for seed in (1, 1, 2))
    assert one.busy == same.busy
    assert one.events == same.events
    assert one.answer_s.mean == same.answer_s.mean
    assert one.busy != other.busy


def test_bursts_ask_as_much_and_wait_longer() -> None:
    rates = slow_rates(kme={**RATES.kme.model_dump(), "commit_s": 0.01})
    waits = {}
    for requests in ("poisson", "bursts"):
        network = small_city(requests=requests, burst_s=120.0)
        found = links(network)
        flows = traffic(network, found)
        seen = EventModel(flows, rates, found).run(1_200.0, 120.0)
        asked = sum(pair.asked for pair in seen.pairs) / 1_200.0
        assert asked == pytest.approx(sum(flows.requests_per_s), rel=0.05)
        waits[requests] = seen.answer_s.percentile(99.0)
    assert waits["bursts"] > 3.0 * waits["poisson"]


def test_more_than_can_be_done_is_told_by_both() -> None:
    """Blocks that take longer than they are apart: the paper is above 1, the queue grows."""
    rates = slow_rates(blocks={"block_s": 2_000.0, "announced_s": 0.0, "messages": 1})
    network = small_city(workers=1)
    found = links(network)
    flows = traffic(network, found)
    assert on_paper(flows, rates).full[Resource.WORKERS].busiest[1] > 1.5
    seen = EventModel(flows, rates, found).run(8_000.0)
    assert max(seen.busy[Resource.WORKERS].values()) > 0.9
    assert seen.unfinished_blocks > 40


def test_without_key_in_store_who_asks_is_refused() -> None:
    network = small_city(stored_s=0.0)
    found = links(network)
    seen = EventModel(traffic(network, found), RATES, found).run(400.0)
    assert sum(pair.refused for pair in seen.pairs) > 20


def test_trusted_nodes_are_not_modelled() -> None:
    network = small_city()
    values = network.model_dump()
    values["sites"][0]["trusted"] = True
    with pytest.raises(TrustedRoute):
        links(check(NetworkFile, values))
