"""A man in the middle, behind TLS: whatever he does to messages, keys never differ."""

import asyncio
import os
from dataclasses import replace

import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.pipeline import PipelineSettings
from bellrelay.wire.peer_messages import Kind

SIDES = ("alice", "bob")


class Once:
    """Does something to one message, the number-th of one side; passes on all others."""

    def __init__(self, side, number, act, kinds=frozenset(Kind) - {Kind.ALIVE}):
        self.side, self.number, self.act, self.kinds = side, number, act, kinds
        self.done = None
        self.seen = 0
        self.held = []

    def __call__(self, speaker, frame):
        if speaker != self.side or frame.kind not in self.kinds:
            return [frame.encode()]
        held, self.held = self.held, []
        if self.done is None and self.seen == self.number:
            self.done = frame.kind
            return [*self.act(self, frame), *held]
        self.seen += 1
        return [frame.encode(), *held]


def flip(_once, frame):
    if not frame.body:
        return [frame.encode()]
    body = bytearray(frame.body)
    body[os.urandom(1)[0] % len(body)] ^= 1 << os.urandom(1)[0] % 8
    return [replace(frame, body=bytes(body)).encode()]


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


ACTS = (flip, drop, repeat, hold_back, cut_short, other_kind, renumbered)


KINDS = {
    "alice": (
        *(Kind.HELLO, Kind.OPEN, Kind.COMMIT, Kind.REVEAL, Kind.TALLIES, Kind.TAG, Kind.START),
        *(Kind.RECONCILE, Kind.VERIFY, Kind.AMPLIFY, Kind.VERDICT),
    ),
    "bob": (
        *(Kind.HELLO, Kind.OPEN, Kind.COMMIT, Kind.REVEAL, Kind.TALLIES, Kind.TAG),
        *(Kind.RECONCILE, Kind.VERIFIED, Kind.PENDING),
    ),
}


@pytest.mark.parametrize(
    ("side", "kind", "act"),
    [
        (side, kind, ACTS[(number + shift) % len(ACTS)])
        for side, kinds in KINDS.items()
        for number, kind in enumerate(kinds)
        for shift in (0, 3)
    ],
)
def test_no_message_can_be_changed_left_out_repeated_or_moved(tmp_path, side, kind, act):
    once = Once(side, 0, act, {kind})
    alice, bob = play(tmp_path, synthetic_run(), tamper=once)
    assert once.done is kind
    same_verdict(alice, bob)


@pytest.mark.parametrize(
    ("side", "kind"),
    [
        *((side, kind) for side in SIDES for kind in (Kind.COMMIT, Kind.REVEAL, Kind.TALLIES)),
        ("alice", Kind.START),
        ("alice", Kind.VERIFY),
        ("bob", Kind.VERIFIED),
        ("alice", Kind.AMPLIFY),
        ("bob", Kind.PENDING),
    ],
)
def test_a_changed_message_is_no_key_and_an_alarm(tmp_path, side, kind):
    alarms = []

    def prepare(alice, bob, _network):
        async def look():
            while not any(r.state.final for p in (alice, bob) for r in p.store.blocks()):
                await asyncio.sleep(0.002)
            alarms.append(alice.pipeline.alarms + bob.pipeline.alarms)

        alice.start()
        bob.start()
        return look()

    once = Once(side, 0, flip, {kind})
    alice, bob = play(tmp_path, synthetic_run(), tamper=once, prepare=prepare)
    assert once.done is kind
    assert same_verdict(alice, bob) == {"1/0": BlockState.ABORTED}
    causes = {p.rows()["1/0"].cause for p in (alice, bob)}
    assert causes & {
        "authentication-failed",
        "announcement-lists-differ",
        "protocol-broken",
        "tallies-differ",
        "ledgers-differ",
        "reconciliation-failed",
        "verification-failed",
    }


def test_a_verdict_is_believed_for_its_tag_alone(tmp_path):
    """Alice delivers; the man in the middle says destroy. Bob waits, and hears it again."""

    def destroy(_once, frame):
        return [replace(frame, body=b"\0").encode()]

    once = Once("alice", 0, destroy, {Kind.VERDICT})
    alice, bob = play(tmp_path, synthetic_run(), tamper=once)
    assert once.done is Kind.VERDICT
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}


def test_a_refusal_cannot_be_turned_into_a_delivery(tmp_path):
    """Bob's readiness is spoilt: Alice refuses, and no forged verdict makes Bob deliver."""

    def deliver(_once, frame):
        return [replace(frame, body=b"\1").encode()]

    spoil = Once("bob", 0, flip, {Kind.PENDING})
    turn = Once("alice", 0, deliver, {Kind.VERDICT})

    def both(speaker, frame):
        (data,) = spoil(speaker, frame) if frame.kind is Kind.PENDING else [None]
        return [data] if data else turn(speaker, frame)

    alice, bob = play(tmp_path, synthetic_run(), tamper=both)
    assert turn.done is Kind.VERDICT
    assert same_verdict(alice, bob) == {"1/0": BlockState.ABORTED}


@pytest.mark.parametrize("side", SIDES)
def test_an_abort_from_nobody_ends_the_block_alike(tmp_path, side):
    def abort(_once, frame):
        return [replace(frame, kind=Kind.ABORT, body=b"no-key").encode()]

    for kind in (Kind.REVEAL, Kind.TAG, Kind.PENDING, Kind.AMPLIFY):
        once = Once(side, 0, abort, {kind})
        alice, bob = play(tmp_path / kind.name, synthetic_run(), tamper=once)
        same_verdict(alice, bob)


def test_messages_of_one_block_do_in_no_other(tmp_path):
    """What was said of block 0 is said again as of block 1."""

    def readdress(speaker, frame):
        if frame.kind is Kind.TAG and frame.index == 1:
            return [replace(frame, index=0).encode()]
        return [frame.encode()]

    settings = PipelineSettings(patience_s=5.0, settle_s=0.1)
    run = synthetic_run(blocks=2)
    alice, bob = play(tmp_path, run, tamper=readdress, blocks=2, settings=settings)
    ends = same_verdict(alice, bob)
    assert ends["1/1"] is BlockState.ABORTED
