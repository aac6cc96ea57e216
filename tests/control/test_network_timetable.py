"""Timetables of fair shares: nobody is in two places, and over time everybody gets the share."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_network_schedule import hop, network, pair

from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop
from bellrelay.control.network_schedule import Schedule, schedule
from bellrelay.control.network_timetable import TimetablePlan, make_timetable

HOUR_NS = 3600 * 10**9


def planned(file: NetworkFile, *hops: Hop) -> tuple[Schedule, TimetablePlan]:
    found = schedule(file, hops)
    return found, make_timetable(file, found)


def relays(*names: str, **values: float) -> list[dict[str, object]]:
    return [{"name": n, "detectors": "x", "settle_s": 0.0, **values} for n in names]


def key_seconds(made: TimetablePlan) -> dict[tuple[str, str, str], float]:
    """Of a frame, by relay and pair; standby is not counted."""
    out: dict[tuple[str, str, str], float] = defaultdict(float)
    for w in made.timetable.windows:
        if not w.standby:
            out[w.relay, w.a, w.b] += w.end_s - w.begin_s
    return out


def require_apart(made: TimetablePlan) -> None:
    """No relay and no site is in two windows at once; standby aside, where it may be."""
    windows = sorted(made.timetable.windows, key=lambda w: w.from_s)
    for n, one in enumerate(windows):
        for other in windows[n + 1 :]:
            if other.from_s >= one.end_s:
                break
            assert one.relay != other.relay, (one, other)
            same_pair = {one.a, one.b} == {other.a, other.b}
            if not (same_pair and (one.standby or other.standby)):
                assert not {one.a, one.b} & {other.a, other.b}, (one, other)


def test_one_relay_divides_its_whole_time_as_planned() -> None:
    file = network(
        [pair("a", "b", 10), pair("c", "d", 30), pair("a", "c", 60)],
        relays=("r",),
    )
    hops = [hop("a", "b", 50), hop("c", "d", 50), hop("a", "c", 50)]
    found, made = planned(file, *hops)
    assert made.scale == 1.0
    require_apart(made)
    got = key_seconds(made)
    for each, share in found.shares["r"]:
        # Rounded down to a millisecond, and what the linear program leaves itself.
        assert got["r", each.a, each.b] == pytest.approx(3600 * share, abs=0.01)
    assert sum(got.values()) == pytest.approx(3600.0, abs=0.05)


def test_every_window_of_a_shared_relay_settles_first() -> None:
    file = network([pair("a", "b", 10), pair("c", "d", 10)], relays=("r",))
    file = NetworkFile.model_validate(
        {**file.model_dump(), "relays": [{**r.model_dump(), "settle_s": 30.0} for r in file.relays]}
    )
    _, made = planned(file, hop("a", "b", 10), hop("c", "d", 10))
    windows = [w for w in made.timetable.windows if not w.standby]
    assert [w.begin_s - w.from_s for w in windows] == [30.0, 30.0]
    assert key_seconds(made)["r", "a", "b"] == pytest.approx(1770.0, abs=0.05)


def test_the_same_network_gives_the_same_timetable() -> None:
    file = network([pair("a", "b", 10), pair("b", "c", 30)], relays=("r", "q"))
    hops = [hop("a", "b", 50), hop("b", "c", 50), hop("a", "b", 40, "q"), hop("b", "c", 70, "q")]
    assert planned(file, *hops)[1] == planned(file, *hops)[1]


def test_a_pair_that_would_come_after_a_loss_has_what_a_relay_has_left() -> None:
    file = network([pair("a", "b", 20, "r", "q"), pair("c", "d", 20, "q", "r")], relays=("r", "q"))
    hops = [hop(*p, 100.0, r) for p in ("ab", "cd") for r in "rq"]
    _, made = planned(file, *hops)
    standby = {
        (w.relay, w.a, w.b): w.end_s - w.begin_s for w in made.timetable.windows if w.standby
    }
    assert standby == pytest.approx({("q", "a", "b"): 720.0, ("r", "c", "d"): 720.0}, abs=1.0)
    assert not made.without_standby
    full = network(
        [pair("a", "b", 100, "r", "q"), pair("c", "d", 100, "q", "r")], relays=("r", "q")
    )
    _, made = planned(full, *hops)
    assert set(made.without_standby) == {("a", "b", "q"), ("c", "d", "r")}


@given(
    demands=st.lists(st.floats(1.0, 1e4), min_size=6, max_size=6),
    rates=st.lists(st.floats(10.0, 1e4), min_size=12, max_size=12),
    turns=st.sampled_from([(3600.0, 3600.0), (3600.0, 900.0)]),
)
@settings(max_examples=30, deadline=None)
def test_over_a_day_every_pair_gets_its_share_and_none_starves(demands, rates, turns) -> None:
    both = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    file = network(
        [pair(*p, demand) for p, demand in zip(both, demands, strict=True)],
        relays=("r", "q"),
    )
    values = file.model_dump()
    for relay, turn in zip(values["relays"], turns, strict=True):
        relay["turn_s"], relay["settle_s"] = turn, 10.0
    file = NetworkFile.model_validate(values)
    hops = [hop(*p, rates[2 * n + k], r) for n, p in enumerate(both) for k, r in enumerate("rq")]
    found, made = planned(file, *hops)
    require_apart(made)
    # Senders that are wanted at two relays may cost time, the same of everybody: at worst one relay
    # stands while the other serves, and settling comes on top.
    assert made.scale > 0.4
    pairs = {p: made.timetable.of_pair(*p) for p in both}
    served: dict[tuple[str, tuple[str, str]], float] = defaultdict(float)
    for relay in "rq":
        for p in both:
            # A day of slots of a millisecond: as an endpoint counts them.
            out = pairs[p].unserved(relay, 1_700_000_000_000_000_000, 1e9, 0, 24 * 3_600_000)
            missed = int((out[:, 1] - out[:, 0]).sum())
            served[relay, p] = (24 * 3_600_000 - missed) / 1000.0
    own = {(w.relay, (w.a, w.b)) for w in made.timetable.windows if not w.standby}
    standby = {(w.relay, (w.a, w.b)) for w in made.timetable.windows if w.standby}
    for relay in "rq":
        for each, share in found.shares[relay]:
            where = relay, (each.a, each.b)
            if where in standby:
                continue
            number = sum(w.relay == relay for w in made.timetable.windows)
            wanted = 24 * 3600.0 * share * made.scale
            # A slot at each edge, and a step of rounding.
            slack = 24 * 0.004 * (number + 8) + 2e-5 * wanted
            assert served[where] == pytest.approx(wanted, abs=slack)
    # Nobody that is planned at all waits longer than a frame for its turn.
    for shares in found.shares.values():
        for each, share in shares:
            if share * made.scale > 1e-5:
                assert (each.relay, (each.a, each.b)) in own


def test_a_schedule_without_key_is_an_empty_timetable() -> None:
    _, made = planned(network([pair("a", "b", 10)]), hop("a", "b", 0.0))
    assert made.timetable.windows == ()
