"""A candidate is promoted when it is good and goes when it is bad, whoever dies in between."""

import os

import pytest
from two_planners import LEAD, WANTED, pair

from bellrelay.control.ladder_versions import propose_ladders
from bellrelay.control.versions import VersionState
from bellrelay.endpoint.block import Cause


def by_candidate(factor, qber=0.02, off=0.02):
    """Key rates with some noise; blocks with the candidate on both sides have another."""

    def model(sets, random):
        mine = [s.alice.s == 0.5 for s in sets]
        gain = factor if all(mine) else 1.0
        error = qber if all(mine) else 0.02
        return 1e-5 * gain * random.normal(1.0, off), error + random.normal(0.0, 4e-4)

    return model


def propose(party, share=0.4, wanted=WANTED):
    return propose_ladders(party.versions, party.agreement, wanted, share, "more light", "ada")


def states(party):
    return [v.state for v in party.versions.history()[1:]]


def decided(link):
    def done():
        return all(
            p.versions.under_way() is None
            and len(p.versions.history()) > 1
            and p.plan.last is not None
            and p.plan.last.candidate is None
            for p in link.both
        )

    return done


def fixed_before_it_was_sent(link):
    """No block has other parameters now than when it was sent."""
    for index, sets in link.sent.items():
        assert [party.parameters(index) for party in link.both] == sets


def test_a_good_candidate_is_promoted_on_both_sides(tmp_path):
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    version = propose(link.alice)
    link.until(decided(link))
    assert [states(p) for p in link.both] == [[VersionState.GOOD]] * 2
    for party in link.both:
        assert party.plan.current.alice.s == party.plan.current.bob.s == 0.5
    link.run(LEAD + 3)
    assert link.sent[link.alice.next - 1] == [link.alice.plan.current] * 2
    fixed_before_it_was_sent(link)
    last = link.alice.versions.get(version.number).decisions[-1]
    assert "as good or better: key per pulse 1." in last.reason
    assert last.author == "canary"
    assert last.evidence["candidate"]["blocks"] >= 4
    # Whatever is said arrives in time here: both send every block by the same parameters.
    assert all(a == b for a, b in link.sent.values())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (by_candidate(0.7), "its key rate is worse"),
        (by_candidate(1.1, qber=0.04), "its QBER is worse"),
    ],
)
def test_a_bad_candidate_goes_by_itself(tmp_path, model, why):
    link = pair(tmp_path, model).run(3)
    propose(link.alice)
    link.until(decided(link))
    assert [states(p) for p in link.both] == [[VersionState.ROLLED_BACK]] * 2
    for party in link.both:
        assert party.plan.current == party.agreement.parameters
        assert why in party.versions.get(1).decisions[-1].reason
    # It does not come again, and nothing flaps.
    epochs = link.alice.plan.number
    link.run(20)
    assert link.alice.plan.number == epochs
    assert link.sent[link.alice.next - 1] == [link.alice.agreement.parameters] * 2
    fixed_before_it_was_sent(link)


def test_blocks_that_end_without_key_take_a_candidate_back_at_once(tmp_path):
    def model(sets, random):
        return None if sets[0].alice.s == 0.5 else by_candidate(1.0)(sets, random)

    link = pair(tmp_path, model).run(3)
    propose(link.alice)
    link.until(decided(link))
    reason = link.alice.versions.get(1).decisions[-1].reason
    assert reason == f"3 of its blocks ended without key: {Cause.NO_KEY}"
    assert sum(s[0].alice.s == 0.5 for s in link.sent.values()) <= 3 + LEAD + 2


def test_one_that_is_not_decided_in_time_goes(tmp_path, monkeypatch):
    link = pair(tmp_path, by_candidate(0.95, off=0.3)).run(3)
    propose(link.alice)
    link.run(10)
    assert link.alice.versions.under_way() is not None
    monkeypatch.setattr(
        "bellrelay.control.ladder_changes.time.time_ns",
        lambda: link.alice.rows[-1].changed_ns + 90_000 * 10**9,
    )
    link.until(decided(link))
    assert "not shown to be as good in time" in link.alice.versions.get(1).decisions[-1].reason


def test_a_peer_that_does_not_take_it_is_heard(tmp_path):
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    link.bob.objection = "bob's sender cannot"
    propose(link.alice)
    link.until(lambda: link.alice.versions.under_way() is None and link.alice.plan.number > 0)
    assert link.alice.versions.get(1).decisions[-1].reason == "bob refuses it: bob's sender cannot"
    link.run(5)
    assert all(s == [link.alice.agreement.parameters] * 2 for s in link.sent.values())
    assert link.bob.plan.last is None
    # Once it can, another proposal goes its way.
    link.bob.objection = None
    propose(link.alice)
    link.until(decided(link))
    assert states(link.alice) == [VersionState.ROLLED_BACK, VersionState.GOOD]
    assert states(link.bob) == [VersionState.GOOD]


def test_our_own_sender_that_does_not_take_it_is_heard(tmp_path):
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    link.alice.objection = "alice's sender cannot"
    propose(link.alice)
    link.run(3)
    reason = link.alice.versions.get(1).decisions[-1].reason
    assert reason == "it cannot be sent: alice's sender cannot"
    assert link.alice.plan.last is None


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("when", ["on trial", "promoted"])
def test_a_person_or_the_watch_goes_back_on_either_side(tmp_path, side, when):
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    propose(link.alice)
    if when == "promoted":
        link.until(decided(link))
        link.run(3)
    else:
        link.until(lambda: all(p.versions.under_way() is not None for p in link.both))
        link.run(2)
    link.both[side].versions.roll_back("decoy misconfiguration", "fault watch")
    link.until(lambda: decided(link)() and link.alice.plan.current.alice.s == 0.4)
    link.run(LEAD + 6)
    for party in link.both:
        assert states(party) == [VersionState.ROLLED_BACK]
        assert party.plan.current == party.agreement.parameters
    assert "decoy misconfiguration" in link.alice.versions.get(1).decisions[-1].reason
    fixed_before_it_was_sent(link)


def test_only_what_bob_asks_back_goes(tmp_path):
    """He says it until he hears of it; what was good before stays."""
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    propose(link.alice)
    link.until(decided(link))
    propose(link.alice, wanted={"alice": {"nu": 0.06}})
    link.until(lambda: all(p.versions.under_way() is not None for p in link.both))
    link.bob.versions.roll_back("no")
    link.until(decided(link))
    link.run(LEAD + 6)
    assert [states(p) for p in link.both] == [[VersionState.GOOD, VersionState.ROLLED_BACK]] * 2
    assert link.alice.plan.current.alice.s == 0.5


def test_another_configuration_file_ends_all_versions(tmp_path):
    link = pair(tmp_path, by_candidate(1.1)).run(3)
    propose(link.alice)
    link.until(decided(link))
    for party in link.both:
        party.options = {"bob": {**party.config.bob.model_dump(), "s": 0.45}}
        party.start()
        assert party.plan.given_up
    link.connected = False
    link.run(3)
    assert states(link.alice) == [VersionState.ROLLED_BACK]
    assert link.alice.versions.get(1).decisions[-1].reason == "the configuration file was changed"
    assert link.sent[link.alice.next - 1] == [link.alice.agreement.parameters] * 2


def test_messages_that_are_lost_change_nothing(tmp_path):
    for seed in range(6):
        link = pair(tmp_path / str(seed), by_candidate(1.1), seed=seed)
        link.lose = lambda link=link: link.random.random() < 0.4
        link.run(3)
        propose(link.alice)
        link.until(decided(link), 800)
        assert [states(p) for p in link.both] == [[VersionState.GOOD]] * 2
        fixed_before_it_was_sent(link)
        assert all(row.cause != Cause.PARAMETERS for row in link.alice.rows)


# --------------------------------------------------------------------- killed at every step


class Killed(BaseException):
    """The process dies here."""


_CALLS = ("write", "fsync", "replace", "ftruncate")


class Killer:
    """Kills at the nth call that changes a disk, before or after it; then never again."""

    def __init__(self, monkeypatch, at, after):
        self.left, self.after = at, after
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    @property
    def came(self):
        return self.left <= 0

    def _wrapped(self, call):
        def counted(*args, **kwargs):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            result = call(*args, **kwargs)
            if self.left == 0:
                raise Killed
            return result

        return counted


@pytest.mark.parametrize(("factor", "after"), [(1.1, False), (1.1, True), (0.7, False)])
def test_whoever_dies_at_any_write_the_end_is_the_same(tmp_path, factor, after):
    end = [VersionState.GOOD if factor > 1 else VersionState.ROLLED_BACK]
    for at in range(1, 200):
        with pytest.MonkeyPatch.context() as patch:
            link = pair(tmp_path / str(at), by_candidate(factor)).run(2)
            propose(link.alice)
            killer = Killer(patch, at, after)
            for _ in range(300):
                try:
                    link.round()
                except Killed:
                    # Whose process it was: both come back, which is no easier.
                    for party in link.both:
                        party.start()
                    link.connected = False
                if decided(link)():
                    break
            link.run(2)
            assert [states(p) for p in link.both] == [end] * 2, at
            fixed_before_it_was_sent(link)
            assert all(row.cause != Cause.PARAMETERS for row in link.alice.rows), at
            if not killer.came:
                break
    assert not killer.came
    assert at > 20
