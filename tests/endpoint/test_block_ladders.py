"""What a power monitor says of a block enters its bounds, and nobody can change it afterwards."""

from dataclasses import replace

import pytest
from crashes import Death, play_deaths
from hypothesis import given
from hypothesis import strategies as st
from synthetic_blocks import LADDER, synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.block import BlockAborted, BlockState, Cause
from bellrelay.endpoint.block_ladders import said_deviation, used_ladder
from bellrelay.wire.peer_messages import Commit, Kind

LIMIT = 0.02
REVEAL = "before sending sift reveal"

deviations = st.floats(0.0, 0.1)


@given(declared=deviations, measured=deviations, limit=deviations)
def test_a_block_is_bounded_with_no_less_than_was_declared_and_no_less_than_was_measured(
    declared, measured, limit
):
    ladder = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation=declared)
    said = said_deviation(ladder, measured)
    if measured > max(limit, declared) + 1e-6:
        with pytest.raises(BlockAborted) as aborted:
            used_ladder(ladder, said, limit)
        assert aborted.value.cause is Cause.INTENSITY
        return
    used = used_ladder(ladder, said, limit)
    assert declared <= used.deviation <= max(limit, declared)
    # A monitor gives no more than the limit.
    assert used.deviation >= min(measured, max(limit, declared))
    assert used.deviation <= max(declared, measured) + 1e-6
    assert replace(used, deviation=declared) == ladder


def test_numbers_that_are_none_are_not_said():
    for measured in (float("nan"), float("inf"), -0.01):
        with pytest.raises(ValueError, match="a deviation of"):
            said_deviation(LADDER, measured)


def measuring(*deviations):
    """Alice's and Bob's monitors say this; of a list, one at every time of asking."""

    def prepare(alice, bob, _network):
        for party, said in zip((alice, bob), deviations, strict=True):
            left = list(said) if isinstance(said, tuple) else [said]

            def admit(_block, _source, left=left):
                return left.pop(0) if len(left) > 1 else left[0]

            party.settings = replace(party.settings, admit=admit)

    return prepare


def play_measured(folder, alice, bob, **options):
    limits = {"alice_limit": LIMIT, "bob_limit": LIMIT}
    return play(folder, synthetic_run(), prepare=measuring(alice, bob), **limits, **options)


def record(party):
    return party.rows()["1/0"].record


def test_rule_8_what_was_measured_is_in_the_bounds_of_both(tmp_path):
    """The key is shorter, by the same on both sides, and says with what it was bounded."""
    lengths, ladders = [], []
    for name, measured in (("exact", (0.0, 0.0)), ("measured", (0.004, 0.012))):
        parties = play_measured(tmp_path / name, *measured)
        assert set(same_verdict(*parties).values()) == {BlockState.STORED}
        assert record(parties[0])["ladders"] == record(parties[1])["ladders"]
        ladders.append(record(parties[0])["ladders"])
        lengths.append(record(parties[0])["private_bits"])
        assert record(parties[0])["deviation_declared"] == {"alice": 0.0, "bob": 0.0}
    assert [x["deviation"] for x in ladders[0].values()] == [0.0, 0.0]
    assert [x["deviation"] for x in ladders[1].values()] == [0.004, 0.012]
    assert 0 < lengths[1] < 0.99 * lengths[0]


@pytest.mark.parametrize("side", [0, 1])
def test_rule_8_beyond_the_limit_there_is_no_key_and_nothing_was_revealed(tmp_path, side):
    seen = []

    def watch(_speaker, frame):
        seen.append(frame.kind)
        return [frame.encode()]

    said = [0.001, 0.001]
    said[side] = 0.021
    parties = play_measured(tmp_path, *said, tamper=watch)
    assert set(same_verdict(*parties).values()) == {BlockState.ABORTED}
    assert {p.rows()["1/0"].cause for p in parties} == {str(Cause.INTENSITY)}
    assert Kind.COMMIT in seen
    assert Kind.REVEAL not in seen


def test_who_says_less_than_is_declared_gets_no_key(tmp_path, monkeypatch):
    """The peer's program is another one; its intervals must not become narrower for that."""
    declared = replace(LADDER, deviation=0.01)
    monkeypatch.setattr("bellrelay.endpoint.exchange_commit.said_deviation", lambda *_: 5_000)
    monkeypatch.setattr("two_endpoints.LADDER", declared)
    parties = play(tmp_path, synthetic_run())
    assert {p.rows()["1/0"].cause for p in parties} == {str(Cause.PROTOCOL)}


def test_a_man_in_the_middle_cannot_say_other_intensities(tmp_path):
    def tamper(speaker, frame):
        if speaker == "bob" and frame.kind is Kind.COMMIT:
            said = Commit.parse(frame.body)
            frame = replace(frame, body=replace(said, deviation_ppm=1000).encode())
        return [frame.encode()]

    alice, bob = play_measured(tmp_path, 0.001, 0.012, tamper=tamper)
    assert set(same_verdict(alice, bob).values()) == {BlockState.ABORTED}
    assert str(Cause.AUTHENTICATION) in {p.rows()["1/0"].cause for p in (alice, bob)}


@pytest.mark.parametrize(
    ("again", "end"),
    [(0.004, BlockState.STORED), (0.001, BlockState.STORED), (0.009, BlockState.ABORTED)],
)
def test_what_was_said_once_is_said_again(tmp_path, again, end):
    """Settings may be known when a block begins again: its intervals are those of the first time,
    or it ends, if the monitor no longer vouches for them."""
    deaths = [Death("alice", REVEAL)]
    monitors = measuring((0.004, again), 0.0)
    alice, bob, _ = play_deaths(
        tmp_path, synthetic_run(), *deaths, beforehand=monitors, alice_limit=LIMIT, bob_limit=LIMIT
    )
    assert deaths[0].came
    assert set(same_verdict(alice, bob).values()) == {end}
    if end is BlockState.STORED:
        assert record(bob)["ladders"]["alice"]["deviation"] == 0.004
    else:
        assert alice.rows()["1/0"].cause == str(Cause.INTENSITY)
