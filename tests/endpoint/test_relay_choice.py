"""Which relay is gone to, and when back: by hand, and whatever relays do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.endpoint.relay_choice import RelayChoice, Sight

WELL = Sight(True)
LOST = Sight(False, "nothing heard")
NAMES = ("a", "b", "c")


class Play:
    """A choice, and a clock. Decisions are carried out at once."""

    def __init__(self, return_after_s=10.0, **state):
        self.choice = RelayChoice(NAMES, return_after_s, **state)
        self.now = 0.0
        self.went = []

    def see(self, *sights, seconds=1.0):
        """What is seen, once a second for so long."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.choice.see(self.now, sights)
            self.do(self.choice.decide(self.now))
        return self.choice.active

    def do(self, decision):
        if decision is not None:
            self.choice.went(self.now, decision)
            self.went.append((self.now, decision.relay))
        return decision


def test_a_lost_relay_is_left_for_the_first_that_is_well():
    play = Play()
    assert play.see(WELL, WELL, WELL) == 0
    assert play.see(LOST, LOST, WELL) == 2
    assert Play().see(LOST, WELL, WELL) == 1
    # Nowhere to go: it stays.
    assert Play().see(LOST, LOST, LOST, seconds=5) == 0


def test_one_before_it_is_gone_back_to_when_it_was_well_for_long_enough():
    play = Play()
    play.see(LOST, WELL, WELL)
    assert play.see(WELL, WELL, WELL, seconds=5) == 1
    # A break, and its time begins anew.
    assert play.see(LOST, WELL, WELL) == 1
    assert play.see(WELL, WELL, WELL, seconds=10) == 1
    assert play.see(WELL, WELL, WELL) == 0


def test_one_that_is_lost_again_soon_has_to_wait_longer_each_time():
    play = Play()
    waits = []
    for _ in range(5):
        play.see(LOST, WELL, WELL)
        assert play.choice.active == 1
        left = play.now
        while play.see(WELL, WELL, WELL) == 1:
            assert play.now < 10_000
        waits.append(play.now - left)
    assert waits == sorted(waits)
    assert waits[-1] >= 8 * waits[0]
    # Well for long, it is trusted as at first.
    play.see(WELL, WELL, WELL, seconds=100)
    play.see(LOST, WELL, WELL)
    left = play.now
    while play.see(WELL, WELL, WELL) == 1:
        pass
    assert play.now - left == waits[0]


def test_an_order_leaves_a_relay_that_is_heard_and_it_comes_last_until_its_time_is_up():
    play = Play()
    play.see(WELL, WELL, WELL)
    play.do(play.choice.leave(play.now, "errors in X"))
    assert play.choice.active == 1
    play.do(play.choice.leave(play.now, "errors in X"))
    # Neither a nor b.
    assert play.choice.active == 2
    play.do(play.choice.leave(play.now, "errors in X"))
    assert play.choice.active == 0
    alone = Play()
    alone.see(WELL, LOST, LOST)
    assert alone.choice.leave(alone.now, "errors in X") is None


def test_who_was_moved_by_an_operator_stays():
    play = Play()
    play.see(WELL, WELL, WELL)
    play.do(play.choice.plan(1, "new fibre"))
    assert play.see(WELL, WELL, WELL, seconds=100) == 1
    assert play.see(WELL, LOST, WELL) == 0
    assert not play.choice.pinned
    with pytest.raises(ValueError, match="nothing heard"):
        play.choice.plan(1, "new fibre")
    # So it does after a restart.
    again = Play(active=1, pinned=True)
    assert again.see(WELL, WELL, WELL, seconds=100) == 1


sights = st.lists(
    st.tuples(st.tuples(*[st.sampled_from([WELL, LOST])] * 3), st.integers(1, 30)), max_size=25
)


@given(sights)
def test_whatever_relays_do_none_is_stayed_at_that_is_lost(course):
    play = Play()
    for seen, seconds in course:
        for _ in range(seconds):
            before = len(play.went)
            active = play.see(*seen)
            if any(s.usable for s in seen):
                assert seen[active].usable
            assert len(play.went) - before <= 1


@given(sights, st.integers(1, 8))
def test_nobody_is_gone_back_to_by_itself_without_its_time(course, after):
    play = Play(return_after_s=float(after))
    well = [0] * 3
    for seen, seconds in course:
        for _ in range(seconds):
            active = play.choice.active
            usable_before = seen[active].usable
            play.see(*seen)
            well = [n + 1 if s.usable else 0 for n, s in zip(well, seen, strict=True)]
            if usable_before and play.choice.active != active:
                assert play.choice.active < active
                assert well[play.choice.active] > after


class Turns(Play):
    """Relays a and b in turn, ten seconds each; c stands by."""

    def turn(self):
        return int(self.now % 20 >= 10)

    def see(self, *sights, seconds=1.0):
        active = []
        for _ in range(round(seconds)):
            self.now += 1.0
            self.choice.see(self.now, sights)
            self.do(self.choice.decide(self.now, self.turn()))
            active.append(self.choice.active == self.turn())
        return all(active)


def test_whose_turn_it_is_takes_the_place_of_the_order():
    play = Turns()
    assert play.see(WELL, WELL, WELL, seconds=100)
    assert len(play.went) == 10
    # Who is lost while it is another's turn misses its own, and no more.
    play.see(WELL, WELL, WELL, seconds=2)
    play.see(WELL, LOST, WELL, seconds=15)
    assert play.choice.active == 0
    assert play.see(WELL, WELL, WELL, seconds=60)


def test_who_was_left_for_a_cause_has_a_turn_again_when_it_was_well_for_long_enough():
    play = Turns()
    waits = []
    for _ in range(3):
        while not (play.turn() == 0 and play.choice.active == 0):
            play.see(WELL, WELL, WELL)
        play.see(LOST, WELL, WELL)
        assert play.choice.active == 1
        left = play.now
        while play.choice.active == 1:
            play.see(WELL, WELL, WELL)
            assert play.now < 10_000
        waits.append(play.now - left)
    assert waits[0] >= 10.0
    assert waits == sorted(waits)
    assert waits[2] > waits[0]
    # Turns are no returns: well for long, it is trusted as at first.
    play.see(WELL, WELL, WELL, seconds=200)
    play.see(LOST, WELL, WELL)
    left = play.now
    while play.choice.active == 1:
        play.see(WELL, WELL, WELL)
    assert play.now - left <= waits[0] + 20.0


def test_no_turn_moves_who_was_moved_by_an_operator():
    play = Turns()
    play.see(WELL, WELL, WELL)
    play.do(play.choice.plan(2, "new fibre"))
    play.see(WELL, WELL, WELL, seconds=50)
    assert play.choice.active == 2
    play.see(WELL, WELL, LOST)
    play.see(WELL, WELL, LOST, seconds=20)
    assert play.see(WELL, WELL, LOST, seconds=60)
