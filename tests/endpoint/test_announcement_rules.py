"""A relay's records fall into blocks, and every rule that it breaks is seen."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.endpoint.announcement_rules import (
    AnnouncementBreach,
    BlockBegun,
    BlockCollector,
    CollectedBlock,
)
from bellrelay.endpoint.block import BlockId, Cause
from bellrelay.wire.messages import Announced, Event

SLOTS = 1000


def announced(sequence, slots, outcomes=None, acquisition=1):
    slots = np.array(slots, np.uint64)
    outcomes = np.ones(slots.size) if outcomes is None else outcomes
    return Announced(sequence, acquisition, slots, np.array(outcomes, np.uint8))


def event(sequence, kind, acquisition=1, **values):
    return Event(sequence, acquisition, {"kind": kind, **values})


def started(*more, slots=SLOTS):
    collector = BlockCollector(slots)
    return collector, [r for record in (event(0, "start"), *more) for r in collector.take(record)]


def take(collector, *records):
    return [r for record in records for r in collector.take(record)]


def blocks(results):
    return {(r.block.acquisition, r.block.index): r for r in results if type(r) is CollectedBlock}


def test_an_acquisition_begins_with_block_0():
    _, results = started()
    assert results == [BlockBegun(BlockId(1, 0), 1)]


def test_a_block_is_complete_once_an_announcement_lies_beyond_it():
    collector, _ = started()
    assert take(collector, announced(1, [3, 999])) == []
    complete, begun = take(collector, announced(3, [1000, 1001]))
    assert complete.slot.tolist() == [3, 999]
    assert complete.next_sequence == 3
    assert begun == BlockBegun(BlockId(1, 1), 3)


def test_a_heartbeat_beyond_completes_it_and_one_within_does_not():
    collector, _ = started()
    take(collector, announced(1, [3]))
    assert take(collector, event(2, "heartbeat", cut_slot=999)) == []
    complete, begun = take(collector, event(3, "heartbeat", cut_slot=1000))
    assert complete.slot.tolist() == [3]
    assert begun == BlockBegun(BlockId(1, 1), 3)


@pytest.mark.parametrize("cut", [None, "1000", 1000.0, True, -1, 1 << 63])
def test_a_heartbeat_that_says_no_slot_completes_nothing(cut):
    collector, _ = started()
    assert take(collector, event(1, "heartbeat", cut_slot=cut)) == []


def test_the_end_of_the_acquisition_completes_it():
    collector, _ = started()
    (complete,) = take(collector, announced(1, [3]), event(2, "stop"))
    assert complete.slot.tolist() == [3]
    begun = take(collector, event(3, "start", acquisition=2))
    assert begun == [BlockBegun(BlockId(2, 0), 4)]


def test_an_acquisition_that_follows_without_a_stop_completes_the_one_before():
    collector, _ = started()
    complete, begun = take(collector, announced(1, [3]), event(2, "start", acquisition=5))
    assert complete.block == BlockId(1, 0)
    assert begun.block == BlockId(5, 0)


@given(
    st.lists(st.integers(0, 20_000), unique=True, min_size=1).map(sorted),
    st.lists(st.integers(1, 9), min_size=1),
    st.sampled_from([1000, 1777, 5000]),
)
def test_every_announcement_lies_in_its_block_however_records_are_cut(slots, sizes, block_slots):
    collector, results = started(slots=block_slots)
    sequence, rest = 1, slots
    while rest:
        for size in sizes:
            part, rest = rest[:size], rest[size:]
            if part:
                results += take(collector, announced(sequence, part))
                sequence += len(part)
    results += take(collector, event(sequence, "stop"))
    found = blocks(results)
    assert [i for _, i in found] == list(range(slots[-1] // block_slots + 1))
    for (_, index), block in found.items():
        assert block.slot.tolist() == [s for s in slots if s // block_slots == index]
    begun = {r.block.index: r.sequence for r in results if isinstance(r, BlockBegun)}
    for index, at in begun.items():
        # Collecting it from there on gives the same list.
        again = BlockCollector(block_slots, BlockBegun(BlockId(1, index), at))
        tail = slots[at - 1 :]
        records = [announced(at, tail)] if tail else []
        again_found = blocks(take(again, *records, event(at + len(tail), "stop")))
        assert again_found[1, index].slot.tolist() == found[1, index].slot.tolist()


BREACHES = {
    Cause.NOT_INCREASING: [announced(1, [5, 9]), announced(3, [7])],
    Cause.DUPLICATE_SLOT: [announced(1, [5, 9]), announced(3, [9, 10])],
    Cause.TWO_OUTCOMES: [announced(1, [5, 9]), announced(3, [9], [2])],
    Cause.UNKNOWN_OUTCOME: [announced(1, [5, 9], [1, 3])],
    Cause.WRONG_ACQUISITION: [announced(1, [5], acquisition=2)],
    Cause.MISSING_RECORDS: [announced(1, [5]), announced(3, [9])],
    Cause.OUT_OF_RANGE: [announced(1, [1005]), announced(2, [5])],
}


@pytest.mark.parametrize("cause", BREACHES)
def test_every_breach_is_seen_and_has_its_cause(cause):
    collector, _ = started()
    with pytest.raises(AnnouncementBreach) as raised:
        take(collector, *BREACHES[cause])
    assert raised.value.cause is cause
    assert raised.value.block == BlockId(1, 1 if cause is Cause.OUT_OF_RANGE else 0)


@pytest.mark.parametrize(
    ("slots", "outcomes", "cause"),
    [
        ([5, 5], [1, 1], Cause.DUPLICATE_SLOT),
        ([5, 5], [1, 2], Cause.TWO_OUTCOMES),
        ([5, 4], [1, 1], Cause.NOT_INCREASING),
        ([1 << 63], [1], Cause.OUT_OF_RANGE),
        ([10_001 * SLOTS], [1], Cause.OUT_OF_RANGE),
    ],
)
def test_breaches_within_a_record(slots, outcomes, cause):
    """The parser of messages refuses most of them before; nothing rests on that."""
    collector, _ = started()
    with pytest.raises(AnnouncementBreach) as raised:
        take(collector, announced(1, slots, outcomes))
    assert raised.value.cause is cause


@pytest.mark.parametrize(
    "records",
    [
        [event(1, "stop"), announced(2, [5])],
        [
            event(1, "start", acquisition=1),
            event(2, "start", acquisition=1),
            announced(3, [1]),
            event(4, "start", acquisition=1),
        ],
        [event(1, "start", acquisition=3), event(2, "start", acquisition=2)],
        [event(1, "start", acquisition=3), announced(2, [5], acquisition=1)],
    ],
)
def test_no_way_back_to_an_acquisition(records):
    collector, _ = started()
    with pytest.raises(AnnouncementBreach) as raised:
        take(collector, *records)
    assert raised.value.cause is Cause.WRONG_ACQUISITION


def test_late_news_of_a_block_that_is_complete_is_a_breach():
    """A heartbeat has said that nothing more comes: what comes all the same was chosen later."""
    collector, _ = started()
    take(collector, announced(1, [3]), event(2, "heartbeat", cut_slot=2500))
    with pytest.raises(AnnouncementBreach):
        take(collector, announced(3, [900]))
    collector, _ = started()
    take(collector, event(1, "heartbeat", cut_slot=2500))
    with pytest.raises(AnnouncementBreach):
        take(collector, announced(2, [1999]))


def test_a_heartbeat_far_ahead_costs_no_memory():
    collector, _ = started()
    with pytest.raises(AnnouncementBreach):
        take(collector, event(1, "heartbeat", cut_slot=(1 << 62)))


@given(st.lists(st.integers(2000, 5999), min_size=1, unique=True).map(sorted), st.data())
def test_who_comes_in_the_middle_gets_the_same_blocks_however_records_are_cut(slots, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(slots)))) | {0, len(slots)})
    pieces = [announced(7 + begin, slots[begin:end]) for begin, end in pairwise(cuts)]
    end = event(7 + len(slots), "stop")
    results = [
        take(BlockCollector(SLOTS), *records, end) for records in (pieces, [announced(7, slots)])
    ]
    seen = [{at: r.slot.tolist() for at, r in blocks(each).items()} for each in results]
    assert seen[0] == seen[1]
    # Nothing of the block in which we came, all of those after it.
    first = slots[0] // SLOTS + 1
    assert [slot for of_block in seen[0].values() for slot in of_block] == [
        slot for slot in slots if slot >= first * SLOTS
    ]


def test_who_comes_in_the_middle_begins_with_the_next_whole_block():
    collector = BlockCollector(SLOTS)
    results = take(collector, announced(70, [5500, 5900, 6100, 6200], acquisition=4))
    assert results == [BlockBegun(BlockId(4, 6), 72)]
    (complete, _) = take(collector, announced(74, [7000], acquisition=4))
    assert complete.slot.tolist() == [6100, 6200]


def test_events_of_the_relay_itself_change_nothing():
    collector, _ = started()
    others = [event(i + 1, kind) for i, kind in enumerate(("gap", "loss", "summary", "quarantine"))]
    assert take(collector, *others, event(5, "stop", acquisition=9)) == []
    assert take(collector, announced(6, [5])) == []


def test_a_relay_says_between_which_times_a_block_was_sent():
    second = 10**9
    collector = BlockCollector(SLOTS, relay=3)
    results = take(
        collector,
        event(0, "start", start_utc_ns=100 * second),
        announced(1, [3]),
        event(2, "heartbeat", cut_slot=500, utc_ns=101 * second),
        # Block 0 ends in it: it was sent after the start, and before this.
        event(3, "heartbeat", cut_slot=2100, utc_ns=102 * second),
        # Blocks 2 and 3 end by an announcement: a heartbeat comes within seconds.
        announced(4, [4001]),
        event(5, "stop", utc_ns=110 * second),
    )
    assert {r.block.relay for r in results} == {3}
    times = {
        i: (b.began_ns // second, b.ended_ns // second) for (_, i), b in blocks(results).items()
    }
    assert times == {0: (100, 102), 1: (101, 102), 2: (101, 105), 3: (102, 105), 4: (102, 110)}
    begun = {r.block.index: r.began_ns // second for r in results if isinstance(r, BlockBegun)}
    assert begun == {0: 100, 1: 101, 2: 101, 3: 102, 4: 102}
    # After a break it goes on with what was known; what is no time says nothing.
    again = BlockCollector(SLOTS, BlockBegun(BlockId(1, 2, 3), 4, 101 * second), 3)
    (complete, _) = take(again, event(4, "heartbeat", cut_slot=3000, utc_ns="noon"))
    assert (complete.block, complete.began_ns, complete.ended_ns) == (
        BlockId(1, 2, 3),
        101 * second,
        0,
    )
