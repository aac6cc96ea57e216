"""Two endpoints and two relays: whoever is lost, lies or is being maintained, key goes on.

What must hold at every end: no finished block is lost, both sides hold the same keys, and a block
of a relay that no light went to has cost no tag.
"""

import asyncio
import time
from dataclasses import replace

import pytest
import two_endpoints
from live_relays import CHOICE, play_relays
from synthetic_blocks import synthetic_run
from witness import Witness

from bellrelay.endpoint import directions
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import Cause
from bellrelay.endpoint.control_socket import Refused
from bellrelay.wire.peer_messages import Kind, Move

pytestmark = pytest.mark.usefixtures("bounds_once")
FIRST, SECOND = "charlie-0", "charlie-1"


@pytest.fixture(autouse=True)
def close_clocks(monkeypatch):
    """Relays and endpoints of these tests have one clock."""
    monkeypatch.setattr(directions, "_SLACK_NS", 100_000_000)


class Deaf(AnnouncementFollower):
    """Hears nothing any more."""

    silent_s = 100.0


def play(folder, script, **options):
    """As :func:`play_relays`; what must hold at every end is looked at. (link, witness)"""
    links = []

    async def kept(link):
        links.append(link)
        for party in link.parties:
            if party.task is None:
                party.start()
        return await script(link)

    with Witness() as witness:
        play_relays(folder, kept, **options)
    (link,) = links
    alice, bob = link.parties
    same = set(alice.rows()) & set(bob.rows())
    ends = [{b: p.rows()[b].state for b in same if p.rows()[b].state.final} for p in link.parties]
    assert ends[0] == ends[1]
    assert alice.keys() == bob.keys()
    witness.require_once()
    worked = {b for p in link.parties for b, r in p.rows().items() if "announced" in r.record}
    dark = {b for p in link.parties for b, r in p.rows().items() if r.cause == Cause.UNLIT}
    assert not worked & dark
    # Blocks without light cost nothing: four tags of each side for every one that was worked.
    for drawn in witness.drawn.values():
        assert len(drawn) <= 4 * len(worked)
    return link, dark


def lit(relay):
    """Blocks that it announced with light, by their numbers in its own run."""
    return len(relay.announced)


def test_without_trouble_light_stays_and_the_second_relay_costs_nothing(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        await link.until_stored("1/0", "1/1", "1/2")

    link, dark = play(tmp_path, script)
    assert {"1/1@1", "1/0@1"} <= dark
    assert all(p.sender.asked == [FIRST] for p in link.parties)


def test_rule_27_a_relay_without_light_is_not_worked_whatever_it_announces(tmp_path):
    async def script(link):
        link.relays[1].boasts = True
        await link.until_both(FIRST)
        await link.until_stored("1/0", "1/1", "1/2")

    _, dark = play(tmp_path, script)
    assert {"1/1@1", "1/0@1"} <= dark


def test_rule_27_a_block_that_only_one_has_sent_to_is_given_up_by_both_without_a_tag(tmp_path):
    def prepare(_alice, bob, _network):
        bob.settings = replace(bob.settings, lit=lambda _block, _row: False)

    with Witness() as witness:
        alice, bob = two_endpoints.play(tmp_path, synthetic_run(), prepare=prepare)
    assert {party.rows()["1/0"].cause for party in (alice, bob)} == {Cause.UNLIT}
    assert not witness.drawn
    assert not alice.keys()


def test_rule_27_who_sends_bob_to_another_relay_has_cut_the_line_and_no_more(tmp_path):
    def tamper(speaker, frame):
        if frame.kind is Kind.MOVE:
            frame = replace(frame, body=Move(3, 1, "of his own").encode())
        return [frame.encode()]

    async def script(link):
        await link.until(lambda: (link.alice.sender.at, link.bob.sender.at) == (FIRST, SECOND))
        await asyncio.sleep(1.5)
        assert not link.alice.chosen.status()["peer_has_moved"]

    link, dark = play(tmp_path, script, tamper=tamper)
    assert {"1/1", "1/2", "1/1@1", "1/2@1"} <= dark
    assert not link.alice.keys()


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_relay_that_is_lost_is_left_for_the_next_and_its_blocks_are_finished(tmp_path, how):
    async def script(link):
        await link.until_both(FIRST)
        await link.until_heard(0, 2)
        begin = time.monotonic()
        setattr(link.relays[0], how, True)
        await link.until_both(SECOND)
        await link.until(lambda: lit(link.relays[1]) >= 1)
        took = time.monotonic() - begin
        # silence_s, a look, a block.
        assert took < CHOICE.silence_s + 0.5 + 2 * link.relays[1].block_s + 1.0
        await link.until_stored("1/0", "1/1")
        n = len(link.relays[1].run.blocks)
        await link.until_stored(f"1/{n - 1}@1")
        told = link.alice.chosen.status()
        assert told["active"] == SECOND
        # Whichever of the two is first to miss it.
        assert "nothing heard" in told["why"] or "the peer does not hear" in told["why"]
        assert not told["each"][FIRST]["usable"]

    link, dark = play(tmp_path, script, blocks=(4, 8))
    stored = {b for b, r in link.alice.rows().items() if r.state.word == "stored"}
    assert {"1/0", "1/1"} <= stored
    assert "1/0@1" in dark
    # Every block that was announced with light is key.
    assert len([b for b in stored if b.endswith("@1")]) == lit(link.relays[1])
    record = link.alice.rows()["1/7@1"].record
    assert record["relay_id"] == SECOND


def test_a_relay_that_lies_is_quarantined_and_the_other_goes_on(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        await link.until_stored("1/0")
        link.relays[0].lie()
        await link.until_both(SECOND)
        await link.until_stored("1/7@1")

    link, _ = play(tmp_path, script, blocks=(4, 8))
    for party in link.parties:
        each = party.chosen.status()["each"]
        assert each[FIRST]["quarantine"]["cause"] == Cause.OUT_OF_RANGE
        assert each[SECOND]["quarantine"] is None
        assert party.rows()["1/0"].state.word == "stored"


def test_a_relay_that_is_said_to_lie_is_followed_no_longer(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        for party in link.parties:
            await party.chosen.quarantine(FIRST, "keys of it were found elsewhere")
        await link.until_both(SECOND)
        before = link.alice.chosen.status()["each"][FIRST]["sequence"]
        await asyncio.sleep(0.3)
        assert link.alice.chosen.status()["each"][FIRST]["sequence"] == before

    link, _ = play(tmp_path, script)
    rows = link.alice.rows()
    assert {r.cause for b, r in rows.items() if b == "1/0"} == {Cause.QUARANTINED}


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_planned_move_waits_for_the_end_of_the_block(tmp_path, who):
    async def script(link):
        await link.until_both(FIRST)
        await link.until_heard(0, 1)
        # Both are in the next block, and not at the end of the first.
        await link.until(
            lambda: all(p.chosen.followers[0].position[1] == "1/1" for p in link.parties)
        )
        party = getattr(link, who)
        answer = await party.chosen.move(SECOND, "new fibre")
        assert answer["relay"] == SECOND
        assert link.alice.sender.at == link.bob.sender.at == SECOND
        assert link.alice.chosen.status()["pinned"]
        # The block in which it was asked for was announced to its end.
        assert lit(link.relays[0]) >= 2
        await link.until_stored("1/0", "1/1", "1/7@1")
        assert link.alice.chosen.active == SECOND
        # Nobody answers for a relay that is not there.
        link.relays[0].dead = True
        await link.until(lambda: not party.chosen.status()["each"][FIRST]["usable"])
        with pytest.raises(Refused):
            party.chosen.move(FIRST, "back")
        with pytest.raises(ValueError, match="no relay"):
            party.chosen.move("charlie-9", "back")
        with pytest.raises(Refused):
            party.chosen.fail_over("bad light")

    play(tmp_path, script, blocks=(6, 8), block_s=0.5)


def test_the_end_of_a_block_is_not_waited_for_for_ever(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        begin = time.monotonic()
        await link.alice.chosen.move(SECOND, "now")
        assert 0.4 < time.monotonic() - begin < 3.0

    choice = CHOICE.model_copy(update={"drain_s": 0.4})
    play(tmp_path, script, block_s=30.0, choice=choice)


def test_a_move_to_a_relay_that_is_lost_meanwhile_is_not_made(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        waiting = link.alice.chosen.move(SECOND, "new fibre")
        link.relays[1].dead = True
        with pytest.raises(Refused, match="nothing heard"):
            await asyncio.wait_for(waiting, 4.0)
        assert link.alice.chosen.active == FIRST
        assert link.alice.chosen.status()["planned"] is None

    play(tmp_path, script, block_s=30.0)


def test_the_primary_is_gone_back_to_when_it_has_been_well_for_long_enough(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        link.relays[0].dead = True
        await link.until_both(SECOND)
        link.relays[0].dead = False
        took = await link.until_both(FIRST)
        assert took > 1.0
        assert "well again" in link.alice.chosen.status()["why"]

    choice = CHOICE.model_copy(update={"return_after_s": 1.0})
    play(tmp_path, script, block_s=30.0, choice=choice)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_either_may_want_to_leave_a_relay_that_it_finds_bad(tmp_path, who):
    async def script(link):
        await link.until_both(FIRST)
        getattr(link, who).chosen.fail_over("errors in X")
        await link.until_both(SECOND)
        assert "errors in X" in link.bob.chosen.status()["why"]

    play(tmp_path, script, block_s=30.0)


def test_a_relay_that_bob_alone_does_not_hear_is_left(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        link.bob.chosen.followers[0].__class__ = Deaf
        await link.until_both(SECOND)
        assert "the peer does not hear it" in link.alice.chosen.status()["why"]

    play(tmp_path, script, block_s=30.0)


def test_a_sender_that_does_not_obey_is_asked_again(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        link.alice.sender.faults.append(OSError("the switch does not answer"))
        link.alice.chosen.fail_over("bad light")
        await link.until(lambda: "switch" in link.alice.chosen.status()["light_fault"])
        assert link.alice.chosen.status()["light"] is None
        await link.until_both(SECOND)
        assert not link.alice.chosen.status()["light_fault"]

    play(tmp_path, script, block_s=30.0)
