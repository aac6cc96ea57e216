"""Where light went: on disk before it goes there, and until after it has gone."""

import json

import pytest

from bellrelay.endpoint import directions
from bellrelay.endpoint.directions import Directions

S = 10**9
RELAYS = ("a", "b")


class Clock:
    def __init__(self):
        self.now = 1000 * S

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_move_and_what_is_known_of_it_after_a_start(tmp_path, clock):
    path = tmp_path / "directions.json"
    one = Directions(path, RELAYS, clock)
    assert (one.active, one.number) == ("a", 0)
    # Before there was any choice, light went to the first.
    assert one.lit("a", 1, 2)
    assert not one.lit("b", 1, 2000 * S)
    one.towards("a")
    one.only("a")
    clock.now = 2000 * S
    one.choose("b", 7, "lost", False)
    one.towards("b")
    clock.now = 2001 * S
    again = Directions(path, RELAYS, clock)
    assert (again.active, again.number, again.why) == ("b", 7, "lost")
    assert again.since_ns == 2000 * S
    # It may have died before or after it asked the sender: both are taken for lit.
    assert again.lit("a", 2001 * S, 2002 * S)
    assert again.lit("b", 2001 * S, 2002 * S)
    again.only("b")
    clock.now = 3000 * S
    assert again.lit("b", 2900 * S, 2901 * S)
    assert not again.lit("a", 2004 * S, 2900 * S)
    assert again.lit("a", 1990 * S, 2900 * S)
    assert not again.lit("b", 1000 * S, 1990 * S)
    again.only(None)
    clock.now = 4000 * S
    assert not again.lit("b", 3500 * S, 3600 * S)
    # One that both know no more is left for the first.
    assert Directions(path, ("a", "c"), clock).active == "a"
    assert Directions(path, ("a", "c"), clock).number == 7


def test_times_that_are_long_over_are_forgotten_and_damage_is_told(tmp_path, clock):
    path = tmp_path / "directions.json"
    one = Directions(path, RELAYS, clock)
    for _ in range(50):
        clock.now += 2 * 86400 * S
        one.towards("b")
        one.only("b")
        clock.now += S
        one.towards("a")
        one.only("a")
    assert len(json.loads(path.read_text())["times"]) < 40
    assert one.lit("a", clock.now, clock.now)
    path.write_text('{"times": 7}')
    with pytest.raises(OSError, match="no directions"):
        Directions(path, RELAYS, clock)


def test_what_is_not_on_disk_holds_nowhere(tmp_path, clock):
    one = Directions(tmp_path / "gone" / "directions.json", RELAYS, clock)
    with pytest.raises(OSError, match="directions"):
        one.choose("b", 1, "lost", False)
    assert (one.active, one.number) == ("a", 0)
    with pytest.raises(OSError, match="directions"):
        one.towards("b")
    assert not one.lit("b", clock.now, clock.now)


def test_of_many_moves_the_oldest_become_one_time_that_errs_on_the_side_of_light(
    tmp_path, clock, monkeypatch
):
    monkeypatch.setattr(directions, "_MOST", 100)
    path = tmp_path / "directions.json"
    one = Directions(path, RELAYS, clock)
    moves = []
    for n in range(150):
        relay = RELAYS[n % 2]
        clock.now += 30 * S
        one.towards(relay)
        begin = clock.now
        clock.now += 10 * S
        one.only(None)
        moves.append((relay, begin, clock.now))
    assert len(json.loads(path.read_text())["times"]) <= 100
    again = Directions(path, RELAYS, clock)
    for relay, begin, end in moves:
        assert again.lit(relay, begin, end)
    # Of the last ones it is known when there was none.
    for relay, begin, end in moves[-50:]:
        assert not again.lit(relay, end + 5 * S, end + 6 * S)
        assert not again.lit("a" if relay == "b" else "b", begin, end)
