"""Whatever a relay publishes as clicks in tracking slots: no other slot is ever asked for."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_blocks import LADDER

from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.slot_ranges import clipped, no_ranges, slots_in
from bellrelay.endpoint.source_log import Choices, SlotNotKept, SourceLogError, basis_of
from bellrelay.endpoint.tracking_source import TrackingSource
from bellrelay.wire.tracking import TrackingClicks, TrackingSlots

SCHEDULE = TrackingSlots(every=100, length=7)


@dataclass
class WatchedSource:
    """A log that notes every slot that it is asked for; settings are slot % 4."""

    acquisition: int = 1
    kept: tuple = (0, 1 << 40)
    lost: np.ndarray = field(default_factory=no_ranges)
    asked: list = field(default_factory=list)
    start_ns = 0
    slot_period_ps = 0.0
    intensities = LADDER.intensities
    probabilities = LADDER.probabilities

    def choices(self, slots):
        self.asked += slots.tolist()
        if len(slots) and not (self.kept[0] <= slots.min() and slots.max() < self.kept[1]):
            raise LookupError("not kept")
        setting = (slots % 4).astype(np.uint8)
        return Choices(basis_of(setting), setting, (slots % 2).astype(np.uint8))

    def removed(self, first, end):
        return clipped(self.lost, first, end)

    def sent(self, first, end):
        return end - first - slots_in(self.removed(first, end))

    def forget(self, before_slot):
        pass

    def close(self):
        pass


def made(log, hold=lambda _acquisition: True, schedule=SCHEDULE):
    return TrackingSource(
        schedule,
        lambda a: CheckedSource(log, a, LADDER.intensities, LADDER.probabilities),
        hold,
    )


def clicks(slots, first=0, end=1000):
    slots = np.asarray(slots, np.uint64)
    n = slots.size
    return TrackingClicks(first, end, slots, np.arange(n, dtype=np.int32), np.zeros(n, np.uint8))


def test_what_was_sent_stands_beside_what_was_seen():
    log = WatchedSource()
    found = made(log).look(1, clicks([3, 104, 106, 106, 901]))
    truth = [s for s in range(1000) if s % 100 < 7]
    assert found.slots.tolist() == [sum(s % 4 == k for s in truth) for k in range(4)]
    assert found.setting.tolist() == [3, 0, 2, 2, 1]
    assert found.position_ps.tolist() == [0, 1, 2, 3, 4]
    assert (found.outside, found.unknown) == (0, 0)
    assert log.asked == truth


@given(
    st.lists(st.integers(0, 1 << 50), max_size=40),
    st.integers(0, 1 << 50),
    st.integers(1, 1 << 40),
)
def test_rule_25_a_lying_relay_has_no_other_slot_asked_for(slots, first, length):
    """It names the slots whose settings it would like to read off the sender's delay."""
    log = WatchedSource()
    source = TrackingSource(TrackingSlots(1 << 30, 5), lambda _: log, lambda _acquisition: True)
    try:
        found = source.look(1, clicks(slots, first, first + length))
    except SlotNotKept:
        assert not log.asked
        return
    assert all(s % (1 << 30) < 5 for s in log.asked)
    assert found.outside == sum(s % (1 << 30) >= 5 for s in slots)
    assert found.setting.size == len(slots) - found.outside - found.unknown


def test_rule_25_the_function_that_asks_refuses_any_other_slot():
    """The check can fail: a schedule that were to name another slot does not get it either."""
    log = WatchedSource()
    source = made(log)

    class Wrong(TrackingSlots):
        def within(self, first, end, most):
            return np.arange(first, min(end, first + 50), dtype=np.uint64)

    source.tracking = Wrong(100, 7)
    with pytest.raises(SourceLogError, match="no tracking slot"):
        source.look(1, clicks([3]))
    assert not log.asked


def test_rule_25_nothing_is_asked_of_an_acquisition_that_began_with_other_tracking_slots(tmp_path):
    store = BlockStore(tmp_path, "alice")
    log = WatchedSource()

    def tracked(schedule):
        return made(log, lambda a: store.hold_schedule("charles", a, schedule), schedule)

    tracked(SCHEDULE).look(1, clicks([3]))
    log.asked.clear()
    with pytest.raises(SourceLogError, match="other tracking slots"):
        tracked(TrackingSlots(100, 8)).look(1, clicks([7]))
    assert not log.asked
    store.close()


def test_slots_that_are_dropped_forgotten_or_not_yet_sent_are_passed_over():
    log = WatchedSource(kept=(200, 640), lost=np.array([[302, 405]], np.uint64))
    found = made(log).look(1, clicks([3, 203, 303, 405, 639, 901, 50]))
    asked = [s for s in range(200, 640) if s % 100 < 7 and not 302 <= s < 405]
    assert log.asked == asked
    assert found.slots.sum() == len(asked)
    assert found.setting.tolist() == [203 % 4, 405 % 4]
    assert (found.outside, found.unknown) == (2, 3)
    assert (found.first_slot, found.end_slot) == (200, 640)
    with pytest.raises(SlotNotKept):
        made(log).look(1, clicks([700], 650, 800))


def test_another_acquisition_is_another_log():
    logs = {1: WatchedSource(1), 2: WatchedSource(2)}
    source = TrackingSource(SCHEDULE, logs.__getitem__, lambda _acquisition: True)
    for acquisition in (1, 2, 1):
        source.look(acquisition, clicks([3]))
    assert len(logs[1].asked) == 2 * len(logs[2].asked)
    source.close()
    assert "array" not in repr(source.look(1, clicks([3])))


def test_an_event_that_speaks_of_very_many_slots_is_cut_and_does_not_fill_the_memory():
    log = WatchedSource()
    found = made(log, schedule=TrackingSlots(2, 1)).look(1, clicks([4, 1 << 30], 0, 1 << 39))
    assert found.slots.sum() == 1 << 22
    assert found.end_slot == 2 * (1 << 22) - 1
    assert found.unknown == 1
