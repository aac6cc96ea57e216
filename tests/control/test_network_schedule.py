"""Fair shares of relays and senders, against schedules that are known by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.control import network_links, network_schedule
from bellrelay.control.network_cost import bill
from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop, hops
from bellrelay.control.network_schedule import routes, schedule
from bellrelay.settings.load import check


def network(
    pairs: list[dict[str, Any]], relays: tuple[str, ...] = ("r",), **values: Any
) -> NetworkFile:
    """Sites a to d, every one on every relay; no time is lost in switching."""
    content: dict[str, Any] = {
        "sites": [{"name": n} for n in "abcd"],
        "relays": [{"name": r, "detectors": "x", "settle_s": 0.0} for r in relays],
        "fibres": [{"site": s, "relay": r, "length_km": 10} for r in relays for s in "abcd"],
        "pairs": pairs,
        "detectors": [{"name": "x", "efficiency": 0.5, "dark_count_rate": 100}],
        "senders": {
            "slot_period_ps": 4000,
            "window_ps": 800,
            "ladder": {"s": 0.4, "mu": 0.3, "nu": 0.05, "p_s": 0.5, "p_mu": 0.05, "p_nu": 0.35},
        },
        **values,
    }
    return check(NetworkFile, content)


def pair(a: str, b: str, demand: float, *relays: str) -> dict[str, Any]:
    return {"a": a, "b": b, "demand": demand, "relays": list(relays)}


def hop(a: str, b: str, bits_per_s: float, relay: str = "r") -> Hop:
    return Hop(a, b, relay, 4.0, bits_per_s, 100.0, None if bits_per_s else "no-bound")


def shares(network: NetworkFile, *given: Hop) -> list[float]:
    return [p.satisfied for p in schedule(network, given).pairs]


def test_what_all_can_have_all_get_and_no_more() -> None:
    found = schedule(
        network([pair("a", "b", 10), pair("c", "d", 20)]), [hop("a", "b", 100), hop("c", "d", 100)]
    )
    assert [p.bits_per_s for p in found.pairs] == [10.0, 20.0]
    assert found.busy("r") == pytest.approx(0.3, abs=1e-5)


def test_shortage_is_shared_by_demand() -> None:
    """10 / 20 s + 10 / 5 s of work per second: every pair gets 1 / 2.5."""
    found = schedule(
        network([pair("a", "b", 10), pair("c", "d", 10)]), [hop("a", "b", 20), hop("c", "d", 5)]
    )
    assert [p.satisfied for p in found.pairs] == pytest.approx([0.4, 0.4], abs=1e-5)
    by_pair = {h.a: share for h, share in found.shares["r"]}
    assert by_pair == pytest.approx({"a": 0.2, "c": 0.8}, abs=1e-5)


def test_who_shares_nothing_with_the_worst_is_not_held_back() -> None:
    """Of max-min the second half: relay q has room for c - d whatever r has for a - b."""
    net = network([pair("a", "b", 100, "r"), pair("c", "d", 10, "q")], relays=("r", "q"))
    assert shares(net, hop("a", "b", 20), hop("c", "d", 50, "q")) == pytest.approx(
        [0.2, 1.0], abs=1e-4
    )


def test_a_sender_serves_one_relay_at_a_time() -> None:
    net = network([pair("a", "b", 10), pair("a", "c", 10)], relays=("r", "q"))
    assert shares(net, hop("a", "b", 10), hop("a", "c", 10, "q")) == pytest.approx(
        [0.5, 0.5], abs=1e-4
    )


def test_two_relays_halve_the_wait() -> None:
    net = network([pair("a", "b", 10), pair("c", "d", 10)], relays=("r", "q"))
    both = [hop(x, y, 10, r) for x, y in (("a", "b"), ("c", "d")) for r in ("r", "q")]
    assert shares(net, *both) == pytest.approx([1.0, 1.0], abs=1e-4)
    assert shares(net.without_relay("q"), *both[::2]) == pytest.approx([0.5, 0.5], abs=1e-4)


def test_the_first_relay_of_a_pair_that_gives_key() -> None:
    net = network([pair("a", "b", 10, "q", "r")], relays=("r", "q"))
    both = [hop("a", "b", 1000, "r"), hop("a", "b", 20, "q")]
    assert [r.hops[0].relay for r in routes(net, net.pairs[0], both)] == ["q"]
    dark = [both[0], hop("a", "b", 0.0, "q")]
    assert [r.hops[0].relay for r in routes(net, net.pairs[0], dark)] == ["r"]


def test_switching_costs_time_where_there_is_something_to_switch_to() -> None:
    net = network(
        [pair("a", "b", 100), pair("c", "d", 100)],
        relays=("r",),
    )
    slow = net.model_copy(
        update={"relays": (net.relays[0].model_copy(update={"settle_s": 60.0, "turn_s": 600.0}),)}
    )
    both = [hop("a", "b", 100), hop("c", "d", 100)]
    assert shares(net, *both) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert shares(slow, *both) == pytest.approx([0.4, 0.4], abs=1e-4)
    alone = slow.model_copy(update={"pairs": slow.pairs[:1]})
    assert shares(alone, *both) == pytest.approx([1.0], abs=1e-4)


def test_key_goes_over_sites_that_are_trusted_and_no_other() -> None:
    sites = [{"name": n, "trusted": n == "c"} for n in "abcd"]
    net = network([pair("a", "b", 10)], relays=("r", "q"), sites=sites)
    given = [
        hop("a", "c", 40), hop("b", "c", 20, "q"), hop("a", "d", 1000), hop("b", "d", 1000, "q"),
    ]  # fmt: skip
    found = schedule(net, given)
    (route, carried), *others = found.pairs[0].routes
    assert (route.trusted, carried, others) == (("c",), pytest.approx(10.0, rel=1e-4), [])
    # c sends to r for one hop, and to q for the other: 10 / 40 + 10 / 20 of its time.
    assert found.busy("r") == pytest.approx(0.25, rel=1e-3)
    assert found.busy("q") == pytest.approx(0.5, rel=1e-3)
    # Named relays: the pair wants no detour.
    named = network([pair("a", "b", 10, "r")], relays=("r", "q"), sites=sites)
    assert shares(named, *given) == [0.0]


def test_no_route_no_key() -> None:
    net = network([pair("a", "b", 10), pair("c", "d", 10)])
    assert shares(net, hop("a", "b", 0.0), hop("c", "d", 100)) == pytest.approx([0.0, 1.0])
    assert shares(net) == [0.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=3),
    st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=3),
)
def test_a_star_is_served_in_equal_shares(demands: list[float], rates: list[float]) -> None:
    """One relay, three pairs of four sites: the share is 1 / sum(demand / rate), at most 1."""
    ends = [("a", "b"), ("c", "d"), ("a", "c")]
    net = network([pair(*e, d) for e, d in zip(ends, demands, strict=True)])
    found = schedule(net, [hop(*e, r) for e, r in zip(ends, rates, strict=True)])
    share = min(1.0, 1.0 / sum(d / r for d, r in zip(demands, rates, strict=True)))
    # Above that, the linear program's tolerance counts.
    if share > 1e-4:
        assert [p.satisfied for p in found.pairs] == pytest.approx([share] * 3, rel=2e-3)
    assert found.busy("r") <= 1.0 + 1e-6


def test_links_are_those_of_keyrate() -> None:
    """The same link as `keyrate` has it: the same rate."""
    from bellrelay.distill.link_rates import ModelledLink, finite_key
    from bellrelay.physics import RelayModel, arm_efficiency, dark_count_probability

    net = network([pair("a", "b", 10)])
    found = next(hops(net))
    eta = float(arm_efficiency(10.0, 0.2, 0.0, 0.5))
    model = RelayModel(
        eta_a=eta, eta_b=eta, dark_count_probability=dark_count_probability(100.0, 800.0),
        misalignment_z=0.005, misalignment_x=0.005, mode_overlap=0.96,
    )  # fmt: skip
    ladder = net.senders.ladder.ladder()
    key = finite_key(ModelledLink(model), ladder, ladder, 10**12, net.finite.security())
    assert found.bits_per_s == pytest.approx(key.rate * 1e12 / 4000.0)
    assert found.bits_per_s > 0.0
    assert found.block_s == pytest.approx(4000.0)
    assert len(list(hops(net))) == 6


def test_uneven_arms_take_decoys_that_interfere(monkeypatch: pytest.MonkeyPatch) -> None:
    far = [{"site": s, "relay": "r", "length_km": km} for s, km in (("a", 5), ("b", 40))]
    net = network([pair("a", "b", 10)], fibres=far)
    matched = next(hops(net)).bits_per_s
    network_links._best_key.cache_clear()
    monkeypatch.setattr(network_links, "_matched", lambda *_: iter(()))
    as_given = next(hops(net)).bits_per_s
    network_links._best_key.cache_clear()
    assert matched > 1.1 * as_given


def test_the_best_ladders_keep_their_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search forgets the light that the vacuum may have; the key must not."""
    net = network([pair("a", "b", 10)], fibres=[
        {"site": s, "relay": "r", "length_km": 10} for s in "ab"
    ])  # fmt: skip
    ladder = net.senders.ladder.ladder()
    assert ladder.vacuum_limit > 0.0
    seen = []

    def search(*arguments: Any) -> Any:
        seen.append(arguments)
        bare = replace(ladder, s=0.45, vacuum_limit=0.0)
        return SimpleNamespace(alice=bare, bob=bare)

    monkeypatch.setattr(network_links, "optimise_ladders", search)
    monkeypatch.setattr(network_links, "finite_key", lambda _link, a, b, *rest: SimpleNamespace(
        length=int(1e6 * (a.s + b.s)), rate=a.s, guards=(a.vacuum_limit, b.vacuum_limit),
        estimate=SimpleNamespace(aborted=None),
    ))  # fmt: skip
    link = network_links.ModelledLink(network_links.RelayModel(eta_a=0.31, eta_b=0.31))
    best = network_links._best_key(link, ladder, 10**12, net.finite.security(), True).key
    assert best.rate == 0.45
    assert best.guards == (ladder.vacuum_limit,) * 2
    assert len(seen) == 1


def test_the_bill() -> None:
    costs = {
        "years": 4, "hour": 100, "sender": {"price": 1000}, "relay": {"hours_per_month": 2},
        "trusted_node": {"per_year": 500}, "fibre": {"per_km_year": 10},
    }  # fmt: skip
    sites = [{"name": n, "trusted": n in "cd"} for n in "abcd"]
    kinds = [{"name": "x", "efficiency": 0.5, "dark_count_rate": 100, "price": 300}]
    found = bill(network([pair("a", "b", 1)], costs=costs, sites=sites, detectors=kinds))
    assert found.price == 4 * 1000 + 2 * 300
    assert found.hours_per_month == 2
    assert found.running_per_year == 2 * 500 + 40 * 10 + 12 * 2 * 100
    assert found.per_year == found.price / 4 + found.running_per_year


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 200.0), min_size=6, max_size=6), st.data())
def test_pairs_without_a_choice_get_what_the_program_gives_them(
    demands: list[float], data: st.DataObject
) -> None:
    """Filling by hand against the linear program, on the same network."""
    ends = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    chosen = [data.draw(st.sampled_from(("r", "q"))) for _ in ends]
    net = network(
        [pair(*e, d, r) for e, d, r in zip(ends, demands, chosen, strict=True)], ("r", "q")
    )
    given_hops = [hop(*e, 100.0, r) for e, r in zip(ends, chosen, strict=True)]
    found = shares(net, *given_hops)
    with pytest.MonkeyPatch.context() as patched:
        # The same number of routes is never seen: the program decides.
        patched.setattr(network_schedule._Problem, "_filled", network_schedule._Problem.programmed)
        assert shares(net, *given_hops) == pytest.approx(found, rel=1e-3)
