"""Clicks in tracking slots, published: nothing twice, nothing of what was lost, nobody waits."""

import numpy as np
import pytest

from bellrelay.control.tag_positions import TagPositions
from bellrelay.control.tracking_publisher import TrackingPublisher
from bellrelay.wire.frames import TAG_CHANNEL_SHIFT
from bellrelay.wire.payloads import Heartbeat, Tags
from bellrelay.wire.registers import State
from bellrelay.wire.tracking import MAX_CLICKS, TrackingClicks, TrackingSlots

PERIOD_PS, CLOCK_PS, TICK_PS = 10_000, 5000, 5_120_000
BEAT_PS = 50_000_000_000
SCHEDULE = TrackingSlots(10, 2)
DESKEW = (300, -400)


class Told:
    """A publisher, and what it told."""

    def __init__(self, schedule=SCHEDULE):
        self.events = []
        positions = TagPositions(PERIOD_PS, 0, 0, CLOCK_PS)
        self.publisher = TrackingPublisher(schedule, positions, DESKEW, PERIOD_PS, TICK_PS, 16)
        self.beats = 0

    def tags(self, t, channel=0, cut_ps=None):
        t = np.asarray(t, np.uint64)
        words = t | np.uint64(channel) << np.uint64(TAG_CHANNEL_SHIFT)
        cut = int(t.max()) + 1 if cut_ps is None else cut_ps
        self.publisher.raw_tags(Tags(cut, words).encode())

    def beat(self, missing=0, **counters):
        self.beats += 1
        fields = {"cut_ps": self.beats * BEAT_PS, "trim": 0}
        beat = Heartbeat(State.RUNNING, False, fields, counters)
        self.publisher.heartbeat(beat, missing, self.events.append)

    def found(self):
        return [TrackingClicks.parse(values) for values in self.events]


def in_beat(number, n, rng):
    """Times of tags between two heartbeats."""
    return np.sort(rng.integers((number - 1) * BEAT_PS + 1000, number * BEAT_PS, n))


def test_all_of_the_tracking_slots_once_and_nothing_else():
    rng, told, sent = np.random.default_rng(1), Told(), []
    for number in range(1, 30):
        for channel in (0, 1):
            t = in_beat(number, 500, rng)
            told.tags(t, channel)
            sent += [((int(v) - DESKEW[channel]), channel) for v in t]
        told.beat()
    found = told.found()
    assert [c.first_slot for c in found] == [0] + [c.end_slot for c in found[:-1]]
    end = found[-1].end_slot
    got = sorted(
        (int(s) * PERIOD_PS + int(p), int(d))
        for c in found
        for s, p, d in zip(c.slot, c.position_ps, c.detector, strict=True)
    )
    wanted = sorted((t, d) for t, d in sent if t // PERIOD_PS < end and t // PERIOD_PS % 10 < 2)
    assert got == wanted
    assert len(got) > 4000
    assert told.publisher.published == len(got)
    assert told.publisher.late == told.publisher.ranges_dropped == 0
    # Some four a second of the link.
    assert len(found) <= 29 * 0.05 * 4 + 2


def test_tags_that_their_thread_brings_a_heartbeat_late_are_in():
    rng, told, n = np.random.default_rng(2), Told(), 0
    waiting = None
    for number in range(1, 20):
        told.beat()
        if waiting is not None:
            told.tags(waiting)
        waiting = in_beat(number + 1, 300, rng)
        told.tags(waiting[:100])
        waiting = waiting[100:]
        n += 300
    assert told.publisher.late == 0
    assert told.publisher.published > 0.1 * n


def test_what_comes_after_its_range_was_published_is_counted():
    told = Told()
    for _ in range(12):
        told.beat()
    told.tags([BEAT_PS + 3000 + 300])
    told.beat()
    assert told.publisher.late == 1
    assert told.publisher.published == 0


def test_a_first_tag_that_deskew_puts_before_the_beginning_is_none():
    told = Told()
    told.tags([100], 0)
    told.beat()
    told.tags([BEAT_PS + 10_000 * 10 + 300])
    told.beat()
    told.beat()
    assert told.publisher.published == 0
    assert told.publisher.histogram(period()) is None


def period():
    from bellrelay.relay.histogram_periods import HistogramPeriod

    return HistogramPeriod(20_000, 30_000, np.ones((2, 625), np.int64))


@pytest.mark.parametrize("loss", ["line", "board", "queue", "told"])
def test_ranges_in_which_something_was_lost_are_dropped_and_the_next_ones_told(loss):
    rng, told = np.random.default_rng(3), Told()
    lost_at = 15 * BEAT_PS

    def beats(numbers, **more):
        for number in numbers:
            told.tags(in_beat(number, 200, rng))
            told.beat(**more)

    beats(range(1, 15))
    before = told.publisher.ranges
    after = {}
    if loss == "line":
        after = {"missing": 1}
    elif loss == "board":
        after = {"tags_shed_0": 7}
    elif loss == "told":
        told.publisher.lose()
    else:
        payload = Tags(lost_at, np.full(1 << 20, lost_at - 5, np.uint64)).encode()
        for _ in range(9):
            told.publisher.raw_tags(payload)
        assert told.publisher.dropped >= 1 << 20
    beats(range(15, 40), **after)
    assert told.publisher.ranges_dropped in (1, 2)
    assert told.publisher.ranges > before
    # No range speaks for the time of the loss, 14 to 15 heartbeats.
    first, end = 14 * BEAT_PS // PERIOD_PS, lost_at // PERIOD_PS
    assert all(c.end_slot <= first or c.first_slot >= end for c in told.found())


def test_more_than_a_log_should_hold_is_dropped_and_counted():
    told = Told(TrackingSlots(2, 1))
    for number in range(1, 12):
        t = np.arange(200_000) * 2 * PERIOD_PS + (number - 1) * BEAT_PS + 1000
        told.tags(t)
        told.beat()
    assert told.publisher.ranges_dropped > 0
    # 0.55 s of the link: three times the most, and never more than fits an event.
    assert 0 < told.publisher.published <= 3 * 16 * MAX_CLICKS
    assert max(len(c.slot) for c in told.found()) <= MAX_CLICKS


def test_what_is_kept_for_the_comparison_is_bounded():
    told = Told()
    for number in range(1, 11):
        told.tags(np.arange(500_000) * 10_000 + (number - 1) * BEAT_PS + 1000)
        told.beat()
    kept = sum(len(t) for t, _ in told.publisher._lately)
    assert kept == told.publisher._remembered <= 1 << 22
    told.publisher.histogram(period())
    kept = sum(len(t) for t, _ in told.publisher._lately)
    assert kept == told.publisher._remembered


@pytest.mark.parametrize("sync", [True, False])
def test_trims_that_come_between_two_heartbeats_leave_no_click_in_another_slot(sync):
    """As while clocks are pulled in: 50 ppm from a time on that no heartbeat tells."""
    rng, told = np.random.default_rng(8), Told(TrackingSlots(10, 5))
    truth = TagPositions(PERIOD_PS, 0, 0, CLOCK_PS)
    trims = {4: 1 << 30, 9: 0, 14: -(1 << 30), 18: -(1 << 10)}
    trim, sent = 0, {}
    for number in range(1, 40):
        if number in trims:
            took = (number - 1) * BEAT_PS + BEAT_PS // 10
            truth.heartbeat(took, trim)
            trim = trims[number]
            truth.heartbeat(took, trim)
        t = in_beat(number, 3000, rng)
        sync_t = np.arange(1 + (number - 1) * BEAT_PS // 10**7, 1 + number * BEAT_PS // 10**7)
        sync_t = sync_t * 10**7 - 77
        slot, position = truth.place(t - DESKEW[0])
        sent.update({(int(s), int(p)): 1 for s, p in zip(slot, position, strict=True)})
        told.tags(t)
        if sync:
            told.tags(sync_t, channel=2)
        last = truth.place(sync_t[-1:])
        told.beats += 1
        cut_ps = told.beats * BEAT_PS
        fields = {
            "cut_ps": cut_ps,
            "trim": trim,
            "cut_slot": int(truth.place(np.array([cut_ps]))[0][0]),
            "sync_slot": int(last[0][0]),
            "sync_pos": int(last[1][0]),
        }
        counters = {"sync": number} if sync else {}
        beat = Heartbeat(State.RUNNING, False, fields, counters)
        told.publisher.heartbeat(beat, 0, told.events.append)
    found = told.found()
    # What was placed by the wrong clock is not published; what is, is in its slot. (Without sync
    # tags to a slot: then clocks do not differ by so much, or light could not be found.)
    assert told.publisher.ranges_dropped >= 3
    assert sum(c.slot.size for c in found) > 20_000
    slots = {s + d for s, _ in sent for d in ((0,) if sync else (-1, 0, 1))}
    exact = 0
    for clicks in found:
        for s, p in zip(clicks.slot.tolist(), clicks.position_ps.tolist(), strict=True):
            assert s in slots
            exact += any((s, p + d) in sent for d in range(-100, 101))
    if sync:
        assert exact == sum(c.slot.size for c in found)
