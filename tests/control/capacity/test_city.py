"""A city that is drawn: the same for the same seed, and one in which pairs can be served."""

from __future__ import annotations

import pytest
import yaml

from bellrelay.control.capacity.city import City, city, city_values
from bellrelay.control.capacity.traffic import links, traffic
from bellrelay.control.network_file import NetworkFile
from bellrelay.settings.load import check


def test_a_hundred_relays_and_a_thousand_endpoints() -> None:
    network = city(City(100, 1000))
    assert (len(network.relays), len(network.sites), len(network.pairs)) == (100, 1000, 1000)
    reach: dict[str, set[str]] = {}
    for fibre in network.fibres:
        reach.setdefault(fibre.site, set()).add(fibre.relay)
    assert all(len(relays) == 2 for relays in reach.values())
    for pair in network.pairs:
        assert set(pair.relays) <= reach[pair.a] & reach[pair.b]
        assert pair.relays
    # Fail-over: there is another relay.
    assert sum(len(pair.relays) == 2 for pair in network.pairs) > 900


def test_the_seed_is_the_city() -> None:
    one, same, other = (city_values(City(9, 60, seed=s)) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_what_is_written_is_read() -> None:
    values = city_values(City(4, 30))
    read = check(NetworkFile, yaml.safe_load(yaml.safe_dump(values)))
    assert read.model_dump() == city(City(4, 30)).model_dump()


def test_one_relay_is_a_star() -> None:
    network = city(City(1, 4, 6))
    assert all(pair.relays == ("r000",) for pair in network.pairs)


def test_every_pair_gets_key() -> None:
    network = city(City(9, 60))
    flows = traffic(network, links(network))
    assert flows.schedule.worst == 1.0
    assert len(flows.flows) == 60
    # Two endpoints of a pair follow a relay, fail-over included.
    assert sum(sum(f.values()) for f in flows.followers.values()) == sum(
        2 * len(p.relays) for p in network.pairs
    )


@pytest.mark.parametrize("wanted", [(0, 5, None), (1, 1, None), (1, 4, 7)])
def test_what_cannot_be_drawn(wanted: tuple[int, int, int | None]) -> None:
    with pytest.raises(ValueError):
        city(City(*wanted))
