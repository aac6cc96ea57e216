"""Either side dies at every boundary, comes back, and both end the block alike."""

import asyncio
from functools import lru_cache

import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import Crash, play, same_verdict

from bellrelay.endpoint.block import BlockState

SIDES = ("alice", "bob")


def dying_at(name, times=1):
    """A checkpoint that dies when it is passed under this name for so many times."""
    left = [times]

    def checkpoint(passed):
        if passed == name:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(name)

    return checkpoint


@lru_cache
def boundaries(folder):
    """Names of the boundaries that each side passes when nothing happens, in order."""
    names = {side: [] for side in SIDES}

    def prepare(alice, bob, _network):
        for party in (alice, bob):
            party.start(checkpoint=names[party.name].append)

    play(folder, synthetic_run(), prepare=prepare)
    return names


@pytest.fixture(scope="module")
def all_boundaries(tmp_path_factory):
    return boundaries(tmp_path_factory.mktemp("undisturbed"))


def places(names):
    """Boundaries to die at: name, and for how many times; two of the many of reconciliation."""
    return [
        (name, times)
        for name in dict.fromkeys(names)
        for times in (1, 3)
        if names.count(name) > 3 or times == 1
    ]


def test_the_boundaries_are_there(all_boundaries):
    states = {s.word for s in BlockState if s not in (BlockState.COLLECTING, BlockState.ABORTED)}
    for names in all_boundaries.values():
        for when in ("before", "after"):
            assert {f"{when} {state}" for state in states} <= set(names)
    assert "after sending amplify amplify" in all_boundaries["alice"]
    assert "before sending verdict verdict" in all_boundaries["alice"]
    assert "after sending amplify tag" in all_boundaries["bob"]


@pytest.mark.parametrize("side", SIDES)
def test_dying_anywhere_ends_alike_on_both_sides(tmp_path, all_boundaries, side):
    ends = {}
    for name, times in places(all_boundaries[side]):

        def prepare(alice, bob, _network, name=name, times=times):
            (alice if side == "alice" else bob).start(checkpoint=dying_at(name, times))

        folder = tmp_path / f"{name} {times}"
        alice, bob = play(folder, synthetic_run(), prepare=prepare, starts=2)
        (ends[name],) = same_verdict(alice, bob).values()
    # Before anything was drawn the block begins again; what was decided stays decided.
    assert ends["after sending sift reveal"] is BlockState.STORED
    assert ends["after stored"] is BlockState.STORED
    assert ends["after estimated"] is BlockState.ABORTED
    assert ends["after verified"] is BlockState.ABORTED


@pytest.mark.parametrize("side", SIDES)
def test_nothing_is_said_twice_under_one_key(tmp_path, all_boundaries, side):
    """Every tag of a run with a crash has a key of its own; a verdict said again is the same."""
    wanted = {
        "alice": ("after sending verdict verdict", "after sending sift tag"),
        "bob": ("after sending amplify tag", "after sending commit tag"),
    }[side]
    for name in wanted:
        assert name in all_boundaries[side]
        tags = {}

        def watch(speaker, frame, tags=tags):
            if frame.kind.name == "TAG":
                tags.setdefault((speaker, frame.body[:8]), set()).add(frame.body)
            return [frame.encode()]

        def prepare(alice, bob, _network, name=name):
            (alice if side == "alice" else bob).start(checkpoint=dying_at(name))

        alice, bob = play(tmp_path / name, synthetic_run(), prepare=prepare, tamper=watch)
        same_verdict(alice, bob)
        assert all(len(bodies) == 1 for bodies in tags.values())


@pytest.mark.parametrize("number", range(0, 60, 7))
def test_a_network_that_breaks_costs_no_block(tmp_path, number):
    """Cut after so many messages, once: the session goes on, and so does the block."""
    passed = []

    def prepare(alice, bob, network):
        def checkpoint(name):
            passed.append(name)
            if len(passed) == number + 1:
                asyncio.get_running_loop().call_soon(network.cut)

        alice.start(checkpoint=checkpoint)

    alice, bob = play(tmp_path, synthetic_run(), prepare=prepare)
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}


def test_both_die_again_and_again(tmp_path, all_boundaries):
    """Each start of each side dies a little later: in the end there is one verdict."""

    def prepare(alice, bob, _network):
        async def kill():
            for step in range(8):
                for party in (alice, bob):
                    await asyncio.sleep(0.02 * step)
                    await party.stop()
                    party.start()

        for party in (alice, bob):
            party.start()
        return kill()

    alice, bob = play(tmp_path, synthetic_run(), prepare=prepare, pool_bytes=1 << 15)
    same_verdict(alice, bob)
