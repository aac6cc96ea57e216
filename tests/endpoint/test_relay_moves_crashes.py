"""Whoever dies at whatever moment of a move, both send to one relay again, and no block is lost."""

from dataclasses import replace

import pytest
from crashes import Death, _checkpoint
from live_relays import play_relays
from test_relays import FIRST, SECOND, close_clocks, play

from bellrelay.endpoint.block import Cause

__all__ = ["close_clocks"]

pytestmark = pytest.mark.usefixtures("bounds_once")
# Every moment at which either dies while light is being directed elsewhere; blocks have their own.
MOMENTS = {
    "alice": [
        "before relay chosen",
        "after relay chosen",
        "before light directed",
        "after light directed",
        "before sending channel move",
        "after sending channel move",
    ],
    "bob": [
        "before relay chosen",
        "after relay chosen",
        "before light directed",
        "after light directed",
        "before sending channel moved",
        "after sending channel moved",
    ],
}


def with_deaths(link, *deaths):
    """From now on; all moments that pass are returned, as they do."""
    waiting, moments = list(deaths), []
    for party, other in (link.parties, link.parties[::-1]):
        checkpoint = _checkpoint(waiting, moments, party, other, link.network)
        party.settings = replace(party.settings, checkpoint=checkpoint)
    return moments


def move(folder, *deaths, blocks=(1, 1), block_s=30.0):
    """A move from the first relay to the second, ordered once; all moments of it."""
    found = []

    async def script(link):
        await link.until_both(FIRST)
        for party in link.parties:
            await party.stop()
        found.append(with_deaths(link, *deaths))
        for party in link.parties:
            party.start()
        await link.until_both(FIRST)
        del found[0][:]
        link.relays[0].silent = True
        await link.until_both(SECOND)
        await link.until(lambda: all(d.came for d in deaths))
        await link.until_both(SECOND)
        await link.until(lambda: link.alice.chosen.status()["peer_has_moved"])
        assert link.alice.directed.number == link.bob.directed.number >= 1

    play(folder, script, blocks=blocks, block_s=block_s)
    return found[0]


def test_the_moments_are_those_of_a_move(tmp_path):
    moments = move(tmp_path)
    for who, names in MOMENTS.items():
        own = [m for name, m in moments if name == who and ("relay" in m or "light" in m)]
        assert set(own) == {m for m in names if "sending" not in m} | (
            {m for m in own if "relays" in m}
        )
        assert set(names) <= {m for name, m in moments if name == who}


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("deed", ["dies", "the other dies", "both die", "the network breaks"])
def test_death_at_every_moment_of_a_move(tmp_path, who, deed):
    # A death from outside falls between two moments: one of two neighbours is enough.
    moments = [m for m in MOMENTS[who] if deed == "dies" or m.startswith("after")]
    for number, moment in enumerate(moments):
        # At its start each directs light as well: the move comes after.
        passed = 1 if "light" in moment or "move" in moment else 0
        death = Death(who, moment, deed, passed)
        move(tmp_path / str(number), death)
        assert death.came, moment


def test_blocks_of_before_a_death_in_a_move_become_key(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        for party in link.parties:
            await party.stop()
        moments = with_deaths(
            link,
            Death("alice", "after relay chosen", "both die"),
            Death("bob", "before light directed", "dies", passed=1),
        )
        for party in link.parties:
            party.start()
        await link.until_both(FIRST)
        await link.until_heard(0, 2)
        link.relays[0].silent = True
        await link.until_both(SECOND)
        await link.until_stored("1/7@1")
        assert moments
        assert not any(
            r.block.index < 2 and not r.block.relay for r in link.alice.store.open_blocks()
        )

    link, dark = play(tmp_path, script, blocks=(3, 8))
    for party in link.parties:
        causes = {r.cause for b, r in party.rows().items() if b in ("1/0", "1/1")}
        # What was in work when somebody died ends as ever; nothing is passed over for the move.
        assert causes <= {"", Cause.INTERRUPTED}
    assert "1/0@1" in dark
    assert not {b for b, r in link.alice.rows().items() if r.cause == Cause.SOURCE_RECORD}


def test_a_peer_that_is_away_during_a_move_hears_of_it_when_it_is_back(tmp_path):
    async def script(link):
        await link.until_both(FIRST)
        await link.bob.stop()
        link.relays[0].dead = True
        await link.until(lambda: link.alice.sender.at == SECOND)
        assert link.bob.sender.at == FIRST
        assert not link.alice.chosen.status()["peer_has_moved"]
        link.bob.start()
        await link.until_both(SECOND)

    async def with_start(link):
        for party in link.parties:
            party.start()
        await script(link)

    play_relays(tmp_path, with_start, block_s=30.0)
