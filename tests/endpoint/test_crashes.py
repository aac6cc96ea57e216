"""Whoever dies, at whatever moment: one verdict, no key on one side alone, nothing used twice.

The moments are those of a run without a fault, so a moment that is added is tested.
"""

import random
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import pytest
from crashes import Death, play_deaths
from synthetic_blocks import synthetic_run
from two_endpoints import same_verdict
from witness import Witness

from bellrelay.endpoint import pipeline
from bellrelay.endpoint.block import BlockState, may_restart
from bellrelay.endpoint.verdicts import verdict_messages
from bellrelay.wire.peer_messages import Kind

pytestmark = pytest.mark.usefixtures("bounds_once")

STEPS = [s.word for s in BlockState if s not in (BlockState.COLLECTING, BlockState.ABORTED)]


@lru_cache
def _moments(folder):
    _, _, moments = play_deaths(folder, synthetic_run())
    return tuple(moments)


@pytest.fixture(scope="module")
def all_moments(tmp_path_factory):
    """Of a run of one block without a fault, as often as they come."""
    return _moments(tmp_path_factory.mktemp("moments"))


@pytest.fixture(scope="module")
def moments(all_moments):
    """Each of them once."""
    return tuple(dict.fromkeys(all_moments))


def _require_all(folder, death, *more, blocks=1):
    """Play, and look at all that must hold; the state in which the first block has ended."""
    with Witness() as witness:
        deaths = (death, *more)
        alice, bob, _ = play_deaths(folder, synthetic_run(blocks=blocks), *deaths, blocks=blocks)
    ends = same_verdict(alice, bob)
    witness.require_once()
    assert len(ends) == blocks
    assert len(alice.keys()) == sum(state is BlockState.STORED for state in ends.values())
    return ends["1/0"], witness


def test_the_moments_are_all_boundaries(moments):
    for who in ("alice", "bob"):
        own = [moment for name, moment in moments if name == who]
        assert len(own) > 40
        for step in STEPS:
            assert {f"before {step}", f"after {step}"} <= set(own)
    for exchange, words in {
        "commit": "commit tag",
        "sift": "reveal tallies tag",
        "reconcile": "start reconcile verify verified tag",
        "amplify": "amplify pending tag",
        "verdict": "verdict tag",
    }.items():
        for word in words.split():
            assert any(m == f"after sending {exchange} {word}" for _, m in moments)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_who_dies_at_any_moment_ends_as_the_state_on_the_disk_has_it(tmp_path, all_moments, who):
    """From `estimated` on on either side a block is given up, but for what Alice has decided."""
    own = [moment for name, moment in all_moments if name == who]
    ends = {}
    for number, (moment, times) in enumerate(Counter(own).items()):
        # Of what comes again and again, as in correction, also a later one.
        for passed in {0, 2 if times > 3 else 0}:
            death = Death(who, moment, passed=passed)
            ends[moment], witness = _require_all(tmp_path / f"{number} {passed}", death)
            assert death.came, moment
            assert len(witness.drawn["alice"]) <= 8
    for step in STEPS:
        # At `sifted` the other side may have gone on, or not.
        if not may_restart(BlockState[step.upper()]):
            end = BlockState.STORED if step == "stored" else BlockState.ABORTED
            assert ends[f"after {step}"] is end, step
    # Before anything was drawn the block begins again.
    assert ends["after the list is kept"] is BlockState.STORED
    assert ends["after sending sift reveal"] is BlockState.STORED


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("deed", ["the other dies", "both die", "the network breaks"])
def test_death_at_every_moment(tmp_path, moments, who, deed):
    ends = set()
    own = [moment for name, moment in moments if name == who]
    # A death from outside falls between two moments: one of two neighbours is enough.
    relevant = {
        "the other dies": [m for m in own if m.startswith(("after sending", "after hearing"))],
        "both die": [m for m in own if m.startswith("after") and m.endswith(("ed", "tag"))],
        "the network breaks": [m for m in own if m.startswith("after sending")],
    }[deed]
    for number, moment in enumerate(relevant):
        death = Death(who, moment, deed)
        try:
            end, _ = _require_all(tmp_path / str(number), death)
        except AssertionError as error:
            raise AssertionError(f"{who}, {moment}, {deed}: {error}") from error
        assert death.came, moment
        if deed == "the network breaks":
            # Both processes live: the session goes on where it was.
            assert end is BlockState.STORED, moment
        ends.add(end)
    # Blocks that could begin anew did, and those that could not were given up.
    expected = {BlockState.STORED}
    assert ends == (expected if "network" in deed else expected | {BlockState.ABORTED})


def test_bob_waits_for_a_verdict_however_often_alice_dies(tmp_path):
    deaths = [
        Death("alice", "before stored"),
        Death("alice", "before sending verdict verdict"),
        Death("alice", "after sending verdict verdict"),
        Death("bob", "before stored"),
    ]
    end, _ = _require_all(tmp_path, *deaths[1:])
    assert end is BlockState.STORED
    assert all(death.came for death in deaths[1:])
    # Before she has decided, she decides against it.
    end, _ = _require_all(tmp_path / "other", deaths[0])
    assert end is BlockState.ABORTED


@pytest.mark.parametrize("seed", range(8))
def test_many_deaths_of_a_run_of_many_blocks(tmp_path, moments, seed):
    draw = random.Random(seed)
    deaths = [
        Death(*draw.choice(moments), draw.choice(["dies", "the other dies", "both die"]), passed)
        for passed in (0, 1, 0, 0)
    ]
    _require_all(tmp_path, *deaths, blocks=3)


def test_the_tests_above_can_fail(tmp_path, monkeypatch):
    """Alice says yes whatever stands on her disk: she dies before she has decided."""

    def always_yes(agreement, block, stored):
        return verdict_messages(agreement, block, replace(stored, deliver=True))

    monkeypatch.setattr(pipeline, "verdict_messages", always_yes)
    with pytest.raises(AssertionError):
        _require_all(tmp_path / "yes", Death("alice", "before stored"))
    monkeypatch.undo()
    _, witness = _require_all(tmp_path / "again", Death("alice", "before stored"))
    index, size, key = witness.drawn["bob"][0]
    witness.drawn["bob"].append((index + size - 1, size, key[::-1]))
    with pytest.raises(AssertionError, match="a byte drawn twice"):
        witness.require_once()
    witness.drawn["bob"].pop()
    witness.said.append(next(said for said in witness.said if said[1] is Kind.START))
    with pytest.raises(AssertionError, match="a seed twice"):
        witness.require_once()
