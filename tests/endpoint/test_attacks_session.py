"""A man in the middle who does not keep the channel's own counters, or spoils its greetings.

What he does to the blocks' messages behind right counters: `test_attacks_channel.py`.
"""

from dataclasses import replace

import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.endpoint.block import BlockState
from bellrelay.wire.peer_messages import Hello, Kind

SIDES = ("alice", "bob")


class Once:
    """Does something to the first message of a kind of one side; passes on all others."""

    def __init__(self, side, kind, act):
        self.side, self.kind, self.act = side, kind, act
        self.done = False
        self.held = []

    def __call__(self, speaker, frame):
        if speaker != self.side:
            return [frame.encode()]
        held, self.held = self.held, []
        if not self.done and frame.kind is self.kind:
            self.done = True
            return [*self.act(self, frame), *held]
        return [frame.encode(), *held]


def drop(_once, _frame):
    return []


def repeat(_once, frame):
    return [frame.encode()] * 2


def hold_back(once, frame):
    once.held = [frame.encode()]
    return []


def cut_short(_once, frame):
    return [replace(frame, body=frame.body[:-1]).encode()]


def other_kind(_once, frame):
    kind = Kind.TALLIES if frame.kind is not Kind.TALLIES else Kind.VERDICT
    return [replace(frame, kind=kind, body=frame.body[:32]).encode()]


def renumbered(_once, frame):
    return [replace(frame, sequence=frame.sequence + 1).encode()]


OF_BLOCKS = {
    "alice": (Kind.COMMIT, Kind.REVEAL, Kind.TAG, Kind.RECONCILE, Kind.AMPLIFY, Kind.VERDICT),
    "bob": (Kind.COMMIT, Kind.REVEAL, Kind.TAG, Kind.RECONCILE, Kind.PENDING),
}


@pytest.mark.parametrize(
    ("side", "kind", "act"),
    [
        *(
            (side, kind, act)
            for side in SIDES
            for kind in (Kind.HELLO, Kind.OPEN)
            for act in (drop, repeat, hold_back, cut_short, other_kind, renumbered)
        ),
        *(
            (side, kind, (drop, repeat, hold_back, renumbered)[number % 4])
            for side, kinds in OF_BLOCKS.items()
            for number, kind in enumerate(kinds)
        ),
    ],
)
def test_no_message_can_be_left_out_repeated_or_moved(tmp_path, side, kind, act):
    once = Once(side, kind, act)
    alice, bob = play(tmp_path, synthetic_run(), tamper=once)
    assert once.done
    same_verdict(alice, bob)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["version", "role", "session", "known", "expects", "parameters"])
def test_a_greeting_that_was_changed_costs_a_connection_or_a_block(tmp_path, side, name):
    """Whoever is refused for it comes back as who he is, and is spoken with."""

    def change(_once, frame):
        hello = Hello.parse(frame.body)
        value = getattr(hello, name)
        flipped = value ^ 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
        return [replace(frame, body=replace(hello, **{name: flipped}).encode()).encode()]

    once = Once(side, Kind.HELLO, change)
    alice, bob = play(tmp_path, synthetic_run(), tamper=once, seconds=30.0)
    assert once.done
    (end,) = same_verdict(alice, bob).values()
    # The session's name is in the context of every tag.
    assert end is (BlockState.ABORTED if name == "session" else BlockState.STORED)
