"""The watch itself: deterministic, batch or not; orders, and who carries them out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from simulated_link import SimulatedLink, State, of_endpoint, of_relay

from bellrelay.control import fault_watch
from bellrelay.control.fault_actions import Action, Order
from bellrelay.control.fault_baseline import Baseline, NotEnoughData, measure_baseline
from bellrelay.control.fault_observables import Side, instances
from bellrelay.control.fault_observation import Measured, Observation
from bellrelay.control.fault_signatures import CELLS, FAULTS
from bellrelay.control.fault_watch import Turn, Watch


class Hands:
    """Notes what is ordered; fails at what it is told to."""

    def __init__(self, failing: Action | None = None) -> None:
        self.orders: list[Order] = []
        self.failing = failing

    def carry_out(self, order: Order) -> None:
        self.orders.append(order)
        if order.action is self.failing:
            raise OSError("no such relay")


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return measure_baseline(SimulatedLink(seed=1).run(600))


def cut(seconds: int = 40) -> list[Observation]:
    link = SimulatedLink(seed=3)
    before = link.run(30)
    return before + link.run(seconds, lambda _t, s: replace(s, light=(0.0, 1.0)))


def test_batches_change_nothing(baseline: Baseline) -> None:
    link = SimulatedLink(seed=3)
    seen = link.run(30) + link.run(40, lambda _t, s: replace(s, light=(0.0, 1.0)))
    link.state = State()
    seen += link.run(200)
    told = []
    for size in (1, 7, 400):
        watch = Watch(baseline)
        told.append(
            [n for at in range(0, len(seen), size) for n in watch.observe(seen[at : at + size])]
        )
    assert told[0] == told[1] == told[2]
    assert told[0]


def test_time_goes_forward(baseline: Baseline) -> None:
    seen = SimulatedLink(seed=3).run(3)
    watch = Watch(baseline)
    watch.observe(seen)
    with pytest.raises(ValueError, match="order of time"):
        watch.observe(seen[-1:])


def test_orders_are_carried_out_step_by_step(baseline: Baseline) -> None:
    hands = Hands()
    watch = Watch(baseline, hands)
    notices = watch.observe(cut())
    assert [(o.action, o.fault, o.subject) for o in hands.orders] == [
        (Action.FAIL_OVER, "fibre-cut", "alice"),
        (Action.CALL, "fibre-cut", "alice"),
    ]
    assert hands.orders[1].time_s - hands.orders[0].time_s == 30.0
    assert hands.orders[0].time_s - 30.0 <= 5.0
    assert [n.order for n in notices if n.turn is Turn.ORDERED] == hands.orders
    assert hands.orders[0].runbook == "docs/runbooks/fibre-cut.md"


def test_the_status_is_plain_and_tells_all(baseline: Baseline) -> None:
    watch = Watch(baseline, Hands())
    assert watch.status() == []
    watch.observe(cut())
    (told,) = json.loads(json.dumps(watch.status()))
    assert (told["fault"], told["subject"], told["receding"]) == ("fibre-cut", "alice", False)
    assert told["steps_taken"] == ["fail-over", "call"]
    assert told["rivals"][0]["fault"] == "source-dark"
    assert told["evidence"][0]["weight"] > 0.0
    assert any("light of alice" in e["observable"] for e in told["evidence"])
    assert told["runbook"].endswith("fibre-cut.md")


def test_a_fit_that_failed_is_no_measurement(baseline: Baseline) -> None:
    watch = Watch(baseline)
    link = SimulatedLink(seed=3)
    bad = (Measured(np.nan, 1.0), Measured(900.0, 0.0))
    seen = link.run(30, report=lambda o: of_relay(o, delay_ps=bad, width_ps=Measured(9.0, np.inf)))
    assert watch.observe(seen) == []


def test_what_cannot_be_carried_out_is_told_and_the_next_step_comes(baseline: Baseline) -> None:
    hands = Hands(failing=Action.FAIL_OVER)
    notices = Watch(baseline, hands).observe(cut())
    failed = [n for n in notices if n.turn is Turn.ORDER_FAILED]
    assert [n.why for n in failed] == ["no such relay"]
    assert hands.orders[-1].action is Action.CALL


def test_a_mended_fault_gets_no_further_orders(baseline: Baseline) -> None:
    hands = Hands()
    watch = Watch(baseline, hands)
    link = SimulatedLink(seed=3)
    watch.observe(link.run(30))
    watch.observe(link.run(10, lambda _t, s: replace(s, light=(0.0, 1.0))))
    link.state = State()
    watch.observe(link.run(200))
    assert [o.action for o in hands.orders] == [Action.FAIL_OVER]


def no_power_monitor(seen: Observation) -> Observation:
    """Then a cut fibre and a sender that went dark look alike."""
    for party in (0, 1):
        seen = of_endpoint(seen, party, intensities=(None, None, None))
    return seen


@pytest.mark.parametrize(
    ("confident", "ordered"), [(0.6, [Action.FAIL_OVER, Action.CALL]), (0.9, [Action.CALL])]
)
def test_doubt_calls_a_person_and_does_nothing(
    baseline: Baseline, monkeypatch: pytest.MonkeyPatch, confident: float, ordered: list[Action]
) -> None:
    monkeypatch.setattr(fault_watch, "_CONFIDENT", confident)
    hands = Hands()
    Watch(baseline, hands).observe([no_power_monitor(o) for o in cut()])
    assert [o.action for o in hands.orders] == ordered


def test_containment_is_one_breach_away(baseline: Baseline) -> None:
    hands = Hands()
    watch = Watch(baseline, hands)
    link = SimulatedLink(seed=4)
    watch.observe(link.run(30))
    watch.observe(link.run(1, report=lambda o: of_endpoint(o, 0, breaches=1)))
    watch.observe(link.run(5))
    assert [o.action for o in hands.orders] == [Action.CONTAIN]


def test_an_arm_at_the_limit_does_not_flap(baseline: Baseline) -> None:
    """An hour at the limit of `light`, and wandering across it."""
    watch = Watch(baseline)
    link = SimulatedLink(State(light=(1.0, 0.75)), seed=4)
    link._usual = State()
    turns = [n for n in watch.observe(link.run(3600)) if n.fault == "asymmetric-loss"]
    assert len([n for n in turns if n.turn is Turn.RAISED]) <= 1


def test_every_alarm_is_suspected_of_something(baseline: Baseline) -> None:
    """No limit without a fault that it may mean: nothing ends as `unexplained` by construction."""
    subjects = {"link": ["link"], "party": ["alice", "bob"]}
    subjects["detector"] = [f"detector {d}" for d in range(baseline.detectors)]
    orphans = [
        (str(instance), side)
        for instance in instances(baseline)
        for side in Side
        if instance.observable.limit(side) is not None
        and not any(f.suspected_by(instance, side, s) for f in FAULTS for s in subjects[f.scope])
    ]
    assert orphans == []


def test_the_table_is_sound(baseline: Baseline) -> None:
    names = {i.observable.name for i in instances(baseline)}
    for fault in FAULTS:
        for key, cell in fault.cells.items():
            name, _, whose = key.partition(".")
            assert name in names, (fault.name, key)
            assert cell in CELLS, (fault.name, key)
            assert whose in ("", "own", "other")
            assert not (whose and fault.scope == "link"), (fault.name, key)
        assert set(fault.triggers) <= set(fault.cells)
        assert fault.steps
        assert fault.steps[-1].wait_s == np.inf
    assert all(abs(sum(p) - 1.0) < 1e-12 for p in CELLS.values())


def test_a_baseline_waits_for_light_where_it_is_looked_for() -> None:
    """Without it a fibre that is cut would not be seen."""
    seen = SimulatedLink(seed=1).run(20)

    def without(arm: int, *, tracked: bool) -> list[Observation]:
        light = [(o.relay.light[1 - arm],) for o in seen]
        pairs = [(None, *one) if arm == 0 else (*one, None) for one in light]
        looked = (tracked, True) if arm == 0 else (True, tracked)
        return [
            replace(o, relay=replace(o.relay, light=pair, tracked=looked))
            for o, pair in zip(seen, pairs, strict=True)
        ]

    for arm, name in enumerate(("alice", "bob")):
        with pytest.raises(NotEnoughData, match=f"light of {name}'s arm"):
            measure_baseline(without(arm, tracked=True))
        # Where nobody looks for it, nothing is waited for.
        assert measure_baseline(without(arm, tracked=False)).light[arm] is None


def test_a_baseline_needs_blocks_and_a_relay() -> None:
    seen = SimulatedLink(seed=1).run(20)
    with pytest.raises(NotEnoughData, match="blocks"):
        measure_baseline([replace(o, blocks=()) for o in seen])
    with pytest.raises(NotEnoughData, match="relay"):
        measure_baseline([replace(o, relay=None) for o in seen])


def test_the_reference_page_is_the_tables() -> None:
    from pathlib import Path

    from bellrelay.control.fault_reference import reference_page

    page = Path(__file__).resolve().parents[2] / "docs/reference/faults.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.control.fault_reference > docs/reference/faults.md"
    )


def test_a_suspicion_without_proof_is_told_later_and_acted_on_later_still(
    baseline: Baseline,
) -> None:
    """More announcements than anything explains; a slot announced twice would be proof at once."""

    def more(seen: Observation) -> Observation:
        assert seen.relay is not None
        return of_relay(seen, psi_minus=4 * seen.relay.psi_minus, psi_plus=4 * seen.relay.psi_plus)

    hands = Hands()
    watch = Watch(baseline, hands)
    link = SimulatedLink(seed=4)
    watch.observe(link.run(30))
    notices = watch.observe(link.run(25, report=more))
    raised = [n for n in notices if n.turn is Turn.RAISED]
    assert [n.fault for n in raised] == ["relay-suspect"]
    first = watch.faults[0]
    assert raised[0].time_s - first.raised_s == 3.0
    assert [o.action for o in hands.orders] == [Action.CONTAIN]
    assert hands.orders[0].time_s - first.raised_s == 10.0
