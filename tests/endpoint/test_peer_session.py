"""Sessions: complete and in order, whatever connections do; over when a process is another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.endpoint.peer_session import PeerSession, SessionBroken, WrongPeer
from bellrelay.wire.peer_messages import Exchange, Hello, Kind, PeerFrame

AGREED = bytes(range(32))


def pair():
    return PeerSession(0, AGREED), PeerSession(1, AGREED)


def greet(a, b):
    """A new connection; whether the session goes on, as both say."""
    hello_a, hello_b = a.hello(), b.hello()
    return a.greet(hello_b), b.greet(hello_a)


def say(session, text):
    session.number(Kind.RECONCILE, Exchange.RECONCILE, (1, 2, 0), text)


def unsent(session, begin):
    while (frame := session.frame(begin)) is not None:
        yield frame
        begin += 1


def test_the_first_greeting_begins_a_session_and_the_next_goes_on_with_it():
    a, b = pair()
    assert greet(a, b) == (False, False)
    assert a.name == b.name
    assert greet(a, b) == (True, True)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_greeting_that_only_one_side_got_begins_anew_on_both(lost):
    a, b = pair()
    hellos = a.hello(), b.hello()
    (b if lost else a).greet(hellos[0 if lost else 1])
    assert greet(a, b) == (False, False)


@pytest.mark.parametrize("restarted", [0, 1])
def test_another_process_ends_the_session_on_both_sides(restarted):
    sides = list(pair())
    greet(*sides)
    say(sides[1 - restarted], b"old")
    sides[restarted] = PeerSession(restarted, AGREED)
    assert greet(*sides) == (False, False)
    assert sides[1 - restarted].frame(0) is None
    assert sides[0].name == sides[1].name


@given(st.lists(st.integers(0, 4), max_size=30), st.randoms(use_true_random=False))
def test_all_messages_arrive_once_and_in_order_however_often_connections_break(breaks, random):
    a, b = pair()
    greet(a, b)
    said, heard = 0, []
    for arrive in [*breaks, 1 << 30]:
        for _ in range(random.randrange(4)):
            say(a, b"%d" % said)
            said += 1
        for frame in list(unsent(a, a.acknowledged))[:arrive]:
            assert b.take(frame)
            heard.append(frame.body)
        if random.random() < 0.5:
            assert not a.take(b.alive(0))
        assert greet(a, b) == (True, True)
    assert heard == [b"%d" % i for i in range(said)]
    assert a.waiting_bytes == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"role": 0}, WrongPeer),
        ({"version": 99}, WrongPeer),
        ({"parameters": bytes(32)}, WrongPeer),
    ],
)
def test_somebody_else_is_refused(change, error):
    a, b = pair()
    values = {**vars(Hello.parse(b.hello().body)), **change}
    with pytest.raises(error):
        a.greet(PeerFrame(Kind.HELLO, body=Hello(**values).encode()))


def test_our_own_greeting_is_refused():
    a, _ = pair()
    with pytest.raises(WrongPeer):
        a.greet(a.hello())


def test_repeated_skipped_and_swapped_messages_are_seen():
    for order in ([0, 0], [1], [0, 2], [1, 0]):
        a, b = pair()
        greet(a, b)
        for text in (b"x", b"y", b"z"):
            say(a, text)
        frames = list(unsent(a, 0))
        for number in order[:-1]:
            if number != 1:
                b.take(frames[number])
        with pytest.raises(SessionBroken):
            b.take(frames[order[0] if order[0] == 1 else order[-1]])


def test_a_message_that_is_left_out_is_missed_at_the_next_sign_of_life():
    a, b = pair()
    greet(a, b)
    say(a, b"x")
    assert a.frame(0) is not None
    with pytest.raises(SessionBroken):
        b.take(a.alive(1))


def test_what_was_never_said_cannot_be_acknowledged():
    a, b = pair()
    greet(a, b)
    say(b, b"x")
    a.take(b.frame(0))
    say(a, b"y")
    with pytest.raises(SessionBroken):
        a.take(PeerFrame(Kind.ALIVE, acknowledged=2))
    with pytest.raises(SessionBroken):
        a.take(a.hello())


def test_a_session_that_we_end_is_over_for_both():
    a, b = pair()
    greet(a, b)
    say(a, b"x")
    a.renew()
    assert greet(a, b) == (False, False)
    assert a.frame(0) is None
