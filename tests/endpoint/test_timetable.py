"""Windows of a pair: when light goes to a relay, and which slots count."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_relays import play_relays
from synthetic_blocks import LADDER
from test_relays import FIRST, SECOND, close_clocks

from bellrelay.endpoint.block import Cause
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.slot_ranges import slots_in
from bellrelay.endpoint.source_log import MeasuredSource, SlotRemoved
from bellrelay.endpoint.timetable import Timetable, WindowedSource
from bellrelay.settings.load import check
from bellrelay.settings.model import ConfigError

__all__ = ["close_clocks"]
S = 10**9


def window(relay, begin, end, settle=0.0, a="alice", b="bob", **more):
    return {
        "relay": relay, "a": a, "b": b, "from_s": begin - settle, "begin_s": begin, "end_s": end,
        **more,
    }  # fmt: skip


def timetable(*windows, frame_s=60.0):
    return check(Timetable, {"frame_s": frame_s, "windows": list(windows)}, "t.yaml")


def test_windows_repeat_in_every_frame_and_are_the_pairs_own():
    windows = timetable(
        window("r", 10.0, 20.0, 2.0), window("r", 30.0, 40.0, a="alice", b="carol")
    ).of_pair("bob", "alice")
    for frame in (0, 1, 29_000_000):
        at = frame * 60 * S
        opened = [s for s in range(60) if windows.open("r", at + s * S)]
        assert opened == list(range(8, 20))
    assert windows.serves("r")
    assert not windows.serves("q")
    assert not windows.open("q", 15 * S)


def test_turns_are_taken_in_a_pairs_own_windows_and_what_stands_by_has_none():
    windows = timetable(
        window("r", 10.0, 20.0, 2.0),
        window("q", 30.0, 40.0),
        window("q", 10.0, 15.0, standby=True),
        window("p", 10.0, 60.0, standby=True),
    ).of_pair("alice", "bob")
    turns = [windows.turn(s * S) for s in range(60)]
    assert turns == [None] * 8 + ["r"] * 12 + [None] * 10 + ["q"] * 10 + [None] * 20
    assert windows.open("q", 12 * S)
    assert [windows.takes_turns(relay) for relay in "rqpo"] == [True, True, False, False]


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ([window("r", 10.0, 61.0)], "within the frame"),
        ([window("r", 10.0, 10.0)], "begin_s < end_s"),
        ([window("r", 10.0, 20.0), window("r", 19.0, 30.0, a="carol")], "window before it"),
        ([window("r", 10.0, 20.0, b="alice")], "another than a"),
        ([window("r", 10.0, 20.0), window("q", 19.0, 30.0, a="carol")], "a sender's window before"),
    ],
)
def test_timetables_that_contradict_themselves_are_refused(windows, words):
    with pytest.raises(ConfigError, match=words):
        timetable(*windows)


def test_both_sides_must_have_the_same_windows():
    one = timetable(window("r", 10.0, 20.0))
    other = timetable(window("r", 10.0, 20.5))
    assert one.of_pair("alice", "bob").digest == one.of_pair("bob", "alice").digest
    assert one.of_pair("alice", "bob").digest != other.of_pair("alice", "bob").digest


@given(
    edges=st.lists(st.integers(0, 6000), min_size=2, max_size=8, unique=True),
    start=st.integers(0, 200 * S),
    first=st.integers(0, 5000),
    length=st.integers(1, 40_000),
)
def test_slots_that_count_are_those_wholly_in_a_window(edges, start, first, length):
    times = [(a / 100, b / 100) for a, b in list(pairwise(sorted(edges)))[::2]]
    windows = timetable(*(window("r", a, b) for a, b in times)).of_pair("alice", "bob")
    # Slots of 10 ms.
    out = windows.unserved("r", start, 1e10, first, first + length)
    assert slots_in(out) == int((out[:, 1] - out[:, 0]).sum())
    slots = np.arange(first, first + length)
    begin = start + slots * 10_000_000
    frame = begin // (60 * S)
    counted = np.zeros(length, bool)
    for a, b in times:
        low, high = (frame * 60 * S + round(x * S) for x in (a, b))
        counted |= (begin >= low) & (begin + 10_000_000 <= high)
    removed = np.zeros(length, bool)
    for a, b in out.tolist():
        removed[a - first : b - first] = True
    assert (counted == ~removed).all()


class Log:
    """Of slots of a second, from a time on."""

    acquisition, start_ns, slot_period_ps = 1, 5 * S, 1e12
    intensities, probabilities = LADDER.intensities, LADDER.probabilities
    kept = (0, 1000)

    def removed(self, first, end):
        return np.array([[12, 14]], np.uint64).clip(first, end)

    def sent(self, first, end):
        raise AssertionError("asked of the windows")


def test_slots_outside_the_windows_count_as_not_sent():
    windows = timetable(window("r", 10.0, 20.0)).of_pair("alice", "bob")
    log = CheckedSource(WindowedSource(Log(), windows, "r"), 1, *LADDER_OF)
    assert log.removed(0, 60).tolist() == [[0, 5], [12, 14], [15, 60]]
    assert log.sent(0, 60) == 8
    with pytest.raises(SlotRemoved):
        log.choices(np.array([3], np.uint64))
    # What the log cannot do, it cannot do behind the windows either.
    assert not isinstance(WindowedSource(Log(), windows, "r"), MeasuredSource)
    unknown = Log()
    unknown.start_ns = 0
    assert WindowedSource(unknown, windows, "r").removed(0, 60).tolist() == [[12, 14]]


LADDER_OF = (LADDER.intensities, LADDER.probabilities)


class HandWindows:
    """Windows that the test opens and shuts. now : relays that serve the pair."""

    def __init__(self):
        self.now = {FIRST}

    def serves(self, relay_id):
        return True

    def open(self, relay_id, now_ns):
        return relay_id in self.now

    def turn(self, now_ns):
        return None

    def takes_turns(self, relay_id):
        return False


class HandTurns(HandWindows):
    """Both relays serve the pair in turn."""

    def turn(self, now_ns):
        return next(iter(self.now), None)

    def takes_turns(self, relay_id):
        return True


def test_light_goes_out_in_the_windows_only_and_a_fail_over_goes_to_the_seconds(tmp_path):
    windows = HandWindows()

    async def script(link):
        for party in link.parties:
            party.start()
        await link.until_both(FIRST)
        assert not link.alice.sender.halted
        windows.now = set()
        await link.until(lambda: link.alice.sender.halted and link.bob.sender.halted)
        await link.until(lambda: not any(p.chosen.status()["light"] for p in link.parties))
        link.relays[0].dead = True
        await link.until(lambda: link.alice.chosen.active == link.bob.chosen.active == SECOND)
        # Not before its own window.
        assert link.alice.sender.halted
        windows.now = {SECOND}
        await link.until_both(SECOND)
        assert not link.alice.sender.halted
        await link.until_stored("1/7@1", seconds=30.0)
        return [p.rows() for p in link.parties]

    rows = play_relays(tmp_path, script, blocks=(8, 8), block_s=0.4, windows=windows)
    for own in rows:
        dark = [b for b, r in own.items() if r.cause == Cause.UNLIT]
        assert "1/0@1" in dark
        assert "1/0" not in dark


def test_relays_serve_a_pair_in_turn_and_who_is_lost_misses_its_turns(tmp_path):
    windows = HandTurns()

    async def script(link):
        for party in link.parties:
            party.start()
        await link.until_both(FIRST)
        windows.now = set()
        await link.until(lambda: link.alice.sender.halted and link.bob.sender.halted)
        windows.now = {SECOND}
        await link.until_both(SECOND)
        assert not link.alice.sender.halted
        assert not link.bob.sender.halted
        assert "its turn" in link.bob.chosen.status()["why"]
        windows.now = {FIRST}
        await link.until_both(FIRST)
        # An operator's move is not undone by turns; back to the first, they go on.
        done = link.bob.chosen.move(SECOND, "by hand")
        await link.until(done.done)
        await asyncio.sleep(0.5)
        assert link.alice.chosen.active == link.bob.chosen.active == SECOND
        assert link.alice.sender.halted
        done = link.alice.chosen.move(FIRST, "by hand")
        await link.until(done.done)
        windows.now = {SECOND}
        await link.until_both(SECOND)
        link.relays[0].silent = True
        await link.until(lambda: not link.alice.chosen.status()["each"][FIRST]["usable"])
        windows.now = {FIRST}
        await asyncio.sleep(0.5)
        assert link.alice.chosen.active == link.bob.chosen.active == SECOND
        link.relays[0].silent = False
        # It was not left for a cause: the next turn that it is heard in is its own.
        await link.until_both(FIRST)

    play_relays(tmp_path, script, windows=windows)
