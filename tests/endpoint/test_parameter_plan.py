"""The parameters of a block are fixed before it begins, by a rule that both say alike."""

import os
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.block import BlockId
from bellrelay.endpoint.block_parameters import BlockParameters, ladder_name
from bellrelay.endpoint.ladder_schedule import LadderSchedule, ladders_ahead
from bellrelay.endpoint.parameter_plan import MILLION, Epoch, ParameterPlan, PlanError
from bellrelay.endpoint.parameter_talk import ParameterTalk
from bellrelay.endpoint.sender_plugin import NoSender, SenderCannot
from bellrelay.wire.peer_messages import Change, PeerMessageError

LADDER = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation=0.01)
BASE = BlockParameters(LADDER, LADDER, 0.02, 0.02)
BETTER = replace(BASE, alice=replace(LADDER, s=0.5))
THIRD = replace(BASE, bob=replace(LADDER, nu=0.06))
CONFIG = bytes(32)

shares = st.integers(1, MILLION - 1)
blocks = st.builds(BlockId, st.integers(0, 100), st.integers(0, 10**9))
sets = st.sampled_from([BASE, BETTER, THIRD])
epochs = st.builds(
    lambda number, current, candidate, share, begins, reason: Epoch(
        number, current, candidate, share if candidate else 0, begins, reason
    ),
    st.integers(1, 10**6),
    sets,
    st.none() | sets,
    shares,
    st.dictionaries(st.sampled_from(["charles", "carol"]), blocks),
    st.text(max_size=20),
)


def plan(folder, base=BASE, configuration=CONFIG):
    return ParameterPlan(folder / "parameters.json", base, configuration)


@given(epochs)
def test_an_epoch_is_the_same_on_the_other_side(epoch):
    again = Epoch.parse(Change.parse(Change(epoch.values()).encode()).values)
    assert again == epoch
    assert [p.digest for p in again.sets] == [p.digest for p in epoch.sets]


@given(epochs, blocks, st.sampled_from(["charles", "carol"]))
def test_the_rule_is_of_public_things_alone(epoch, block, relay):
    again = Epoch.parse(epoch.values())
    assert again.parameters(relay, block) == epoch.parameters(relay, block)
    assert epoch.parameters(relay, block) in epoch.sets


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_candidate_has_its_share_of_the_blocks_and_no_pattern(share):
    epoch = Epoch(7, BASE, BETTER, int(share * MILLION))
    n = 20_000
    mine = [epoch.is_candidates("charles", BlockId(1, i)) for i in range(n)]
    sigma = (n * share * (1 - share)) ** 0.5
    assert abs(sum(mine) - n * share) < 5 * sigma
    both = sum(a and b for a, b in pairwise(mine))
    assert abs(both - n * share**2) < 5 * (n * share**2) ** 0.5
    # Another trial, relay or acquisition draws anew.
    for other, relay, acquisition in (
        (replace(epoch, number=8), "charles", 1),
        (epoch, "carol", 1),
        (epoch, "charles", 2),
    ):
        again = [other.is_candidates(relay, BlockId(acquisition, i)) for i in range(n)]
        same = sum(a and b for a, b in zip(mine, again, strict=True))
        assert abs(same - n * share**2) < 5 * (n * share**2) ** 0.5 + 5


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("number", 0, "counted from 1"),
        ("number", True, "no whole number"),
        ("share_ppm", MILLION, "between 0 and 1"),
        ("candidate", None, "share of no candidate"),
        ("current", {"alice": {}}, "exactly"),
        ("begins", {"charles": [1]}, "no block"),
        ("begins", [], "no mapping"),
    ],
)
def test_what_is_no_epoch_is_refused(field, value, why):
    values = {**Epoch(3, BASE, BETTER, 1000).values(), field: value}
    with pytest.raises(ValueError, match=why):
        Epoch.parse(values)


def test_parameters_that_contradict_themselves_are_none():
    values = BASE.values()
    values["alice"]["mu"] = 0.01
    with pytest.raises(ValueError, match=r"alice: intensities must fall"):
        BlockParameters.parse(values)
    with pytest.raises(ValueError, match=r"bob\.s: 'x' is no number"):
        BlockParameters.parse({**BASE.values(), "bob": {**BASE.values()["bob"], "s": "x"}})
    with pytest.raises(ValueError, match="alice_limit: deviation"):
        replace(BASE, alice_limit=0.2)


def test_each_block_has_the_last_epoch_that_began_at_or_before_it(tmp_path):
    p = plan(tmp_path)
    assert p.parameters("charles", BlockId(1, 5)) == BASE
    p.put_down(Epoch(1, BETTER, begins={"charles": BlockId(1, 10)}))
    p.put_down(Epoch(2, THIRD, begins={"charles": BlockId(2, 3)}))
    for at, expected in (
        (BlockId(1, 9), BASE),
        (BlockId(1, 10), BETTER),
        (BlockId(2, 2), BETTER),
        (BlockId(2, 3), THIRD),
        (BlockId(9, 0), THIRD),
    ):
        assert p.parameters("charles", at) == expected
        assert plan(tmp_path).parameters("charles", at) == expected
    with pytest.raises(ValueError, match="epoch 2 after 2"):
        p.put_down(Epoch(2, BASE))
    assert p.known(BETTER.digest) == BETTER
    assert p.known(bytes(32)) is None


def test_recent_sets_are_those_that_open_blocks_may_have(tmp_path):
    p = plan(tmp_path)
    assert p.recent() == [BASE]
    p.put_down(Epoch(1, BASE, BETTER, 1000))
    p.put_down(Epoch(2, BETTER))
    p.put_down(Epoch(3, BETTER, THIRD, 1000))
    assert p.recent() == [BASE, BETTER, THIRD]
    for number in range(4, 9):
        p.put_down(Epoch(number, BASE))
    assert p.recent() == [BASE]


def test_what_is_proposed_is_known_and_not_yet_held(tmp_path):
    """The peer may have put it down, and its answer be lost."""
    p = plan(tmp_path)
    epoch = Epoch(1, BASE, BETTER, 1000)
    p.propose(epoch)
    p = plan(tmp_path)
    assert p.pending == epoch
    assert p.parameters("charles", BlockId(5, 5)) == BASE
    assert p.known(BETTER.digest) == BETTER
    assert not p.holds(epoch)
    with pytest.raises(ValueError, match="epoch 1 after 1"):
        p.propose(epoch)
    p.withdraw()
    assert p.number == 1
    assert plan(tmp_path).number == 1
    assert p.known(BETTER.digest) is None


def test_a_plan_of_another_configuration_or_none_at_all(tmp_path):
    plan(tmp_path).put_down(Epoch(1, BETTER))
    other = plan(tmp_path, configuration=bytes(31) + b"x")
    assert other.given_up
    assert other.parameters("charles", BlockId(1, 1)) == BASE
    (tmp_path / "parameters.json").write_text("{}")
    with pytest.raises(PlanError, match="is no plan"):
        plan(tmp_path)


@pytest.mark.parametrize("call", ["fdopen", "fsync", "replace"])
def test_only_what_is_on_disk_holds(tmp_path, monkeypatch, call):
    p = plan(tmp_path)
    p.put_down(Epoch(1, BETTER))

    def fails(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(PlanError, match="No space left"):
            p.put_down(Epoch(2, THIRD))
    for one in (p, plan(tmp_path)):
        assert one.last.number == 1
        assert one.current == BETTER
    p.put_down(Epoch(2, THIRD))
    assert plan(tmp_path).current == THIRD


# ----------------------------------------------------------------------------- the schedule


class Told(NoSender):
    """A sender that knows what it was told."""

    def __init__(self):
        self.ladders = []
        self.broken = ""

    def set_ladders(self, relay_id, acquisition, ladders):
        if self.broken:
            raise SenderCannot(self.broken)
        self.ladders.append((relay_id, acquisition, tuple(ladders)))


def test_a_sender_is_told_where_its_ladder_changes_and_what_holds_behind(tmp_path):
    p = plan(tmp_path)
    p.put_down(Epoch(1, BASE, BETTER, 300_000, {"charles": BlockId(1, 4)}))
    told = ladders_ahead(p, Role.ALICE, "charles", BlockId(1, 2), 50, 1000)
    assert told[0].first_slot == 2000
    assert told[-1].ladder == BASE.alice
    assert [t.first_slot for t in told] == sorted({t.first_slot for t in told})
    for index in range(2, 52):
        slot = index * 1000
        ladder = [t for t in told if t.first_slot <= slot][-1].ladder
        assert ladder == p.parameters("charles", BlockId(1, index)).alice
    # Bob's ladder is the same in both: he is told it once.
    (one,) = ladders_ahead(p, Role.BOB, "charles", BlockId(1, 2), 50, 1000)
    assert (one.ladder, one.name) == (LADDER, ladder_name(LADDER))


def test_a_sender_is_told_again_with_every_epoch_and_acquisition_and_in_time(tmp_path):
    p, sender, at = plan(tmp_path), Told(), {"charles": BlockId(1, 0)}
    schedule = LadderSchedule(p, Role.ALICE, 1000, sender, lambda: at)
    schedule.tell()
    assert not sender.ladders
    p.put_down(Epoch(1, BASE, BETTER, 300_000, {"charles": BlockId(1, 4)}))
    schedule.tell()
    schedule.tell()
    assert len(sender.ladders) == 1
    at["charles"] = BlockId(1, 600)
    schedule.tell()
    at["charles"] = BlockId(2, 0)
    schedule.tell()
    p.put_down(Epoch(2, BASE, begins={"charles": BlockId(2, 4)}))
    schedule.tell()
    assert [(a, t[0].first_slot) for _, a, t in sender.ladders] == [
        (1, 0),
        (1, 600_000),
        (2, 0),
        (2, 0),
    ]
    sender.broken = "no such intensity"
    p.put_down(Epoch(3, BETTER, begins={"charles": BlockId(2, 9)}))
    schedule.tell()
    assert schedule.status()["sender_fault"] == "no such intensity"
    sender.broken = ""
    schedule.tell()
    assert schedule.status()["sender_fault"] == ""
    assert sender.ladders[-1][2][-1].ladder == BETTER.alice


def test_a_sender_that_cannot_change_takes_no_candidate_with_another_ladder_of_its_own(tmp_path):
    p = plan(tmp_path)
    alice = LadderSchedule(p, Role.ALICE, 1000, NoSender(), dict)
    assert "alice's sender cannot change" in alice.objection(BETTER)
    assert alice.objection(THIRD) is None
    assert LadderSchedule(p, Role.ALICE, 1000, Told(), dict).objection(BETTER) is None


# ---------------------------------------------------------------------------------- the talk


def talk(folder, role, objection=None):
    folder.mkdir(exist_ok=True)
    return ParameterTalk(
        role, plan(folder), lambda: {"charles": BlockId(1, 10)}, 4, lambda _p: objection
    )


def test_each_side_takes_only_what_the_other_may_say(tmp_path):
    alice, bob = talk(tmp_path / "a", Role.ALICE), talk(tmp_path / "b", Role.BOB)
    epoch = {"epoch": Epoch(1, BASE, BETTER, 1000).values()}
    for side, values in (
        (alice, epoch),
        (bob, {"accept": 1}),
        (bob, {"ask": 1, "why": "x"}),
        (bob, {}),
        (bob, {"epoch": 3}),
        (bob, {**epoch, "more": 1}),
        (bob, {"epoch": {**epoch["epoch"], "share_ppm": -1}}),
        (alice, {"accept": "x"}),
    ):
        with pytest.raises(PeerMessageError):
            side.told(Change(values))
    assert alice.plan.last is bob.plan.last is None


def test_both_begin_where_alice_says_unless_that_is_past(tmp_path):
    alice, bob = talk(tmp_path / "a", Role.ALICE), talk(tmp_path / "b", Role.BOB)
    said = alice.begin_trial(BETTER, 1000, "x")
    assert alice.plan.last is None
    (accepted,) = bob.told(said)
    alice.told(accepted)
    assert alice.plan.last == bob.plan.last
    assert alice.plan.last.begins == {"charles": BlockId(1, 14)}
    # Said again it is accepted again, and changes nothing.
    assert bob.told(said) == [accepted]
    assert bob.told(alice.greeting()[0]) == [accepted]
    late = talk(tmp_path / "late", Role.BOB)
    late._coming = lambda: {"charles": BlockId(1, 40)}
    late.told(said)
    assert late.plan.last.begins == {"charles": BlockId(1, 42)}


def test_alice_counts_on_where_her_disk_was_restored(tmp_path):
    alice, bob = talk(tmp_path / "a", Role.ALICE), talk(tmp_path / "b", Role.BOB)
    for _ in range(3):
        (accepted,) = bob.told(alice.begin_trial(BETTER, 1000, "x"))
        alice.told(accepted)
        bob.told(alice.settle(BASE, "y"))
    assert bob.plan.last.number == 6
    restored = talk(tmp_path / "restored", Role.ALICE)
    (answer,) = bob.told(restored.begin_trial(THIRD, 1000, "z"))
    (again,) = restored.told(answer)
    (accepted,) = bob.told(again)
    restored.told(accepted)
    assert restored.plan.last == bob.plan.last
    assert (bob.plan.last.number, bob.plan.last.candidate) == (7, THIRD)


def test_a_refusal_is_kept_with_its_reason_and_nothing_begins(tmp_path):
    alice, bob = talk(tmp_path / "a", Role.ALICE), talk(tmp_path / "b", Role.BOB, "no")
    (answer,) = bob.told(alice.begin_trial(BETTER, 1000, "x"))
    assert alice.told(answer) == []
    assert alice.refused == (1, "no")
    assert alice.plan.pending is alice.plan.last is bob.plan.last is None
    with pytest.raises(ValueError, match="need a trial first"):
        alice.settle(BETTER, "x")
    assert os.listdir(tmp_path / "b") == []
