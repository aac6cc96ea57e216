"""Two endpoints and their senders: a good candidate is promoted, a bad one goes, keys are equal."""

import asyncio
from dataclasses import replace

import pytest
from synthetic_blocks import LADDER
from trial_link import blocks_by_ladder, play_trial
from two_endpoints import same_verdict

from bellrelay.control.ladder_versions import propose_ladders
from bellrelay.control.versions import VersionState
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.block_parameters import BlockParameters, ladder_name

HIGH = LADDER
LOW = replace(LADDER, p_s=0.04)


def base_of(ladder):
    return BlockParameters(ladder, ladder)


def propose(alice, **wanted):
    values = {"alice": wanted, "bob": wanted}
    return propose_ladders(alice.versions, alice.agreement, values, 0.5, "a better p_s")


async def settled(*parties, versions):
    """Until both have decided on so many versions."""

    def done(party):
        history = party.versions.history()[1:]
        last = party.plan.last
        return (
            len(history) == versions
            and not history[-1].state.under_way
            and last is not None
            and last.candidate is None
        )

    while not all(party.task and not party.task.done() and done(party) for party in parties):
        await asyncio.sleep(0.02)


async def some_more(light, blocks):
    end = len(light.blocks) + blocks
    while len(light.blocks) < end:
        await asyncio.sleep(0.02)


def states(party):
    return [v.state for v in party.versions.history()[1:]]


CHANGE = "sending channel change"
DEATHS = [
    (),
    (
        ("alice", f"before {CHANGE}"),
        ("bob", f"before {CHANGE}"),
        ("alice", f"after {CHANGE}"),
        ("bob", f"after {CHANGE}"),
    ),
    (
        ("bob", "after stored"),
        ("alice", "after stored"),
        ("bob", "after the list is kept"),
        ("alice", "after estimated"),
    ),
]


@pytest.mark.parametrize("deaths", DEATHS)
def test_good_is_promoted_and_bad_goes_and_keys_are_equal_whoever_dies(tmp_path, deaths):
    async def story(light, alice, bob):
        await some_more(light, 3)
        propose(alice, p_s=HIGH.p_s)
        await settled(alice, bob, versions=1)
        await some_more(light, 4)
        propose(alice, p_s=0.03)
        await settled(alice, bob, versions=2)
        await some_more(light, 4)

    light, alice, bob = play_trial(tmp_path, base_of(LOW), story, deaths=deaths)
    same_verdict(alice, bob)
    for party in (alice, bob):
        assert states(party) == [VersionState.GOOD, VersionState.ROLLED_BACK]
        assert party.plan.current == base_of(HIGH)
        assert not party.deaths
    # Each sender went to the end by what was promoted.
    assert [s.by[-1] for s in light.senders] == [HIGH, HIGH]
    rows = blocks_by_ladder(alice)
    assert {ladder_name(x) for x in (LOW, HIGH, replace(LOW, p_s=0.03))} == set(rows)
    # A block is bounded with the ladder that it was sent by, on both sides.
    for name, of_ladder in rows.items():
        for row in of_ladder:
            if row.state is BlockState.STORED:
                sent = light.senders[0].by[row.block.index]
                assert ladder_name(sent) == name
                assert row.record["ladders"]["alice"]["p_s"] == sent.p_s
                other = light.senders[1].by[row.block.index]
                assert row.record["ladders"]["bob"]["p_s"] == other.p_s
    aborted = [r for of_ladder in rows.values() for r in of_ladder if r.state is BlockState.ABORTED]
    # Of a death, what was under way; nothing for another reason.
    assert {r.cause for r in aborted} <= ({str(Cause.INTERRUPTED)} if deaths else set())


@pytest.mark.parametrize("side", [0, 1])
def test_a_sender_that_sends_the_candidate_in_a_current_block_makes_no_key_there(tmp_path, side):
    wrong_from = []

    async def story(light, alice, bob):
        propose(alice, p_s=LOW.p_s)
        while alice.plan.last is None or bob.plan.last is None:
            await asyncio.sleep(0.01)
        await some_more(light, 4)
        # From now on it sends the candidate's, whatever it was told.
        light.senders[side].wrong = LOW
        wrong_from.append(len(light.blocks))
        await some_more(light, 10)

    _, alice, bob = play_trial(tmp_path, base_of(HIGH), story)
    assert set(same_verdict(alice, bob).values()) == {BlockState.STORED, BlockState.ABORTED}
    party = (alice, bob)[side]
    cheated = [
        row
        for row in party.rows().values()
        if row.block.index > wrong_from[0]
        and party.plan.parameters("charles", row.block) == base_of(HIGH)
    ]
    assert len(cheated) >= 2
    assert {row.state for row in cheated} == {BlockState.ABORTED}
    assert {row.cause for row in cheated} == {str(Cause.SOURCE_RECORD)}
    # Who is told by the other says that; who has seen it, what.
    seen = {row.detail for row in cheated} - {"as the peer says"}
    assert all("the source declares probabilities" in why for why in seen)
    assert seen
