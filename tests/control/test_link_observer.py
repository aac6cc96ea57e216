"""Statuses, round by round, become the observations that they are of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from simulated_link import SimulatedLink, of_endpoint, of_kme, of_relay
from simulated_statuses import BLOCK_SLOTS, Statuses

from bellrelay.control.fault_baseline import measure_baseline
from bellrelay.control.fault_observables import Instance, Side, instances
from bellrelay.control.fault_observation import Measured, Observation
from bellrelay.control.link_observer import LinkObserver, Round
from bellrelay.control.link_time import LinkTime
from bellrelay.control.observation_parts import light_of, presence_of, services_of
from bellrelay.service.health_server import plain_numbers


def there_and_back(seen: list[Observation], *, by_json: bool = False) -> list[Observation]:
    statuses, observer = Statuses(), LinkObserver("charlie-1", BLOCK_SLOTS)
    rounds = [statuses.first(), *statuses.rounds(seen)]
    if by_json:
        rounds = [said_by_http(r) for r in rounds]
    return [o for o in map(observer.take, rounds) if o is not None]


def said_by_http(r: Round) -> Round:
    def sent(status: object) -> object:
        return None if status is None else json.loads(json.dumps(plain_numbers(status)))

    return replace(
        r,
        relay=sent(r.relay),
        endpoints=tuple(map(sent, r.endpoints)),
        kmes=tuple(map(sent, r.kmes)),
    )


def same(a: Measured | None, b: Measured | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.isclose(a.value, b.value, rtol=1e-9) and np.isclose(a.sigma, b.sigma, rtol=1e-6))


@pytest.mark.parametrize("by_json", [False, True])
def test_there_and_back(by_json: bool) -> None:
    seen = SimulatedLink(seed=5).run(12)
    back = there_and_back(seen, by_json=by_json)
    assert len(back) == len(seen)
    for k, (o, b) in enumerate(zip(seen, back, strict=True)):
        assert b.time_s == pytest.approx(o.time_s, abs=0.01)
        assert b.relay is not None
        assert o.relay is not None
        assert b.relay.span_s == pytest.approx(o.span_s)
        for name in (
            "running", "heartbeat_age_s", "slots", "live", "detectors", "psi_minus",
            "psi_plus", "lost", "reference_locked", "public_z", "public_x",
        ):  # fmt: skip
            assert getattr(b.relay, name) == getattr(o.relay, name), (k, name)
        for name in ("width_ps", "visibility"):
            assert same(getattr(b.relay, name), getattr(o.relay, name))
        for arm in (0, 1):
            assert same(b.relay.light[arm], o.relay.light[arm])
            assert same(b.relay.delay_ps[arm], o.relay.delay_ps[arm])
            end, was = b.endpoints[arm], o.endpoints[arm]
            assert end is not None
            assert was is not None
            assert all(map(same, end.intensities, was.intensities))
            assert end.vacuum_excess == pytest.approx(was.vacuum_excess)
            assert same(end.laser_ghz, was.laser_ghz)
            assert end.pool_blocks == was.pool_blocks
        assert b.kmes == o.kmes
        assert [x.begin_s for x in b.blocks] == pytest.approx(
            [x.begin_s for x in o.blocks], abs=0.01
        )
        for x, y in zip(b.blocks, o.blocks, strict=True):
            assert np.array_equal(x.n, y.n)
            assert np.array_equal(x.m, y.m)
            assert (x.sifted, x.corrected) == (y.sifted, y.corrected)


def test_what_is_wrong_comes_through() -> None:
    seen = SimulatedLink(seed=5).run(3)
    broken = of_endpoint(seen[1], 1, tag_failures=2, random_alarm=True, relay_connected=False)
    broken = of_kme(of_kme(broken, 0, audit_broken=True), 1, refused=7, peer_connected=False)
    broken = of_endpoint(broken, 0, vacuum_excess=3.0)
    back = there_and_back([seen[0], of_relay(broken, lost=9, running=False), seen[2]])[1]
    assert back.relay is not None
    assert (back.relay.lost, back.relay.running) == (9, False)
    bob = back.endpoints[1]
    assert bob is not None
    assert (bob.tag_failures, bob.random_alarm, bob.relay_connected) == (2, True, False)
    alice = back.endpoints[0]
    assert alice is not None
    assert alice.vacuum_excess == pytest.approx(3.0)
    assert back.kmes[0] is not None
    assert back.kmes[0].audit_broken
    assert back.kmes[1] is not None
    assert (back.kmes[1].refused, back.kmes[1].peer_connected) == (7, False)


def test_who_does_not_answer_is_compared_with_what_was_heard_last() -> None:
    seen = SimulatedLink(seed=5).run(4)
    gone = replace(seen[1], relay_reachable=False)
    back = there_and_back([seen[0], gone, seen[2], seen[3]])
    assert back[1].relay is None
    assert back[1].relay_reachable is False
    assert back[2].relay is not None
    # Of both seconds, counts and time alike: rates stay what they are.
    assert back[2].relay.span_s == pytest.approx(2.0)
    assert back[2].relay.slots == 2 * seen[2].relay.slots  # type: ignore[union-attr]


def test_a_measurement_that_is_told_twice_counts_once() -> None:
    seen = SimulatedLink(seed=5).run(2)
    statuses, observer = Statuses(), LinkObserver("charlie-1", BLOCK_SLOTS)
    observer.take(statuses.first())
    said = statuses.of(seen[0])
    first, second = observer.take(said), observer.take(replace(said, wall_s=said.wall_s + 1.0))
    assert first is not None
    assert second is not None
    assert first.relay is not None
    assert second.relay is not None
    assert None not in (*first.relay.light, first.relay.width_ps)
    assert second.relay.light == (None, None)
    assert second.relay.width_ps is second.relay.visibility is None
    assert second.relay.public_z == (0, 0)
    assert second.endpoints[0] is not None
    assert second.endpoints[0].intensities == (None, None, None)


def test_what_a_sender_was_asked_for_is_known() -> None:
    seen = SimulatedLink(seed=5).run(1)
    statuses, observer = Statuses(), LinkObserver("charlie-1", BLOCK_SLOTS)
    observer.take(statuses.first())
    said = statuses.of(seen[0])
    alice = {**(said.endpoints[0] or {}), "sender": {"attenuation_db": 3.0, "rate": 0.5}}
    bob = {**(said.endpoints[1] or {}), "sender": {"halted": True}}
    back = observer.take(replace(said, endpoints=(alice, bob)))
    assert back is not None
    assert back.asked[0].light == pytest.approx(0.501, abs=0.001)
    assert back.asked[0].slots == 0.5
    assert back.asked[1].light == 0.0


def test_no_alarm_is_in_two_parts() -> None:
    """Nor is any lost: what is wrong in the whole is wrong in exactly one of them."""
    seen = SimulatedLink(seed=5).run(6)
    wrong = {
        "relay-lost": of_endpoint(seen[4], 1, relay_connected=False),
        "unreachable": replace(seen[4], relay=None, relay_reachable=False),
        "stopped": of_relay(seen[4], running=False),
        "silence": of_relay(seen[4], heartbeat_age_s=9.0),
        "peer-lost": of_endpoint(seen[4], 0, peer_connected=False),
        "tags": of_endpoint(seen[4], 0, tag_failures=1),
        "pool": of_endpoint(seen[4], 0, pool_blocks=1.0),
        "random": of_endpoint(seen[4], 0, random_alarm=True),
        "kme-peer": of_kme(seen[4], 0, peer_connected=False),
        "audit": of_kme(seen[4], 1, audit_broken=True),
        "breaches": of_endpoint(seen[4], 0, breaches=1),
        "vacuum": of_endpoint(seen[4], 0, vacuum_excess=3.0),
        "line": of_relay(seen[4], lost=10**6),
        "reference": of_relay(seen[4], reference_locked=False),
    }
    base = measure_baseline(SimulatedLink(seed=1).run(60))
    for name, observation in wrong.items():
        parts = (light_of(observation), presence_of(observation), services_of(observation, 5.0))
        beyond = [
            part
            for part in parts
            for instance in instances(base)
            if instance.observable.name == name
            and _is_beyond(instance, instance.sample(part, base))
        ]
        assert len({id(part) for part in beyond}) == 1, name


def _is_beyond(instance: Instance, sample: tuple[float, float]) -> bool:
    num, den = np.array([sample[0]]), np.array([sample[1]])
    for side in Side:
        limit = instance.observable.limit(side)
        if limit is not None:
            statistic = instance.observable.statistic
            test = statistic.above if side is Side.UP else statistic.below
            if test(num, den, limit.at(instance.reference)[0], 1e-3)[0]:
                return True
    return False


def test_slots_are_placed_in_link_time() -> None:
    time = LinkTime()
    time.passed(0.0)
    time.mark(7, 1000, 1e-3)
    time.passed(1.0, 2.0)
    assert time.now_s == pytest.approx(2.0, abs=0.01)
    time.mark(7, 3000, 1e-3)
    assert time.of_slot(7, 2000) == pytest.approx(1.0, abs=0.01)
    assert time.of_slot(7, 0) == pytest.approx(-1.0, abs=0.01)
    assert time.of_slot(7, 9999) == time.now_s
    assert time.of_slot(6, 2000) is None
    time.mark(8, 5, 1e-3)
    assert time.of_slot(7, 2000) is None


def test_a_slow_simulation_is_no_silent_board() -> None:
    """Heartbeats every 5 s of wall time, of 0.1 s each: their age is that of link time."""
    statuses, observer = Statuses(), LinkObserver("charlie-1", BLOCK_SLOTS)
    observer.take(statuses.first())
    seen = SimulatedLink(seed=5).run(1)[0]
    ages = []
    for second in range(1, 30):
        status = statuses.of(seen).relay
        assert status is not None
        beats = second // 5
        status["counters"] = {"slots": beats * 10_000_000}
        status["heartbeat_age_s"] = float(second % 5)
        observed = observer.take(Round(float(second), status, True))
        assert observed is not None
        assert observed.relay is not None
        ages.append(observed.relay.heartbeat_age_s)
    assert max(ages[5:]) < 0.1
