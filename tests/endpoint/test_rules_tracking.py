"""Rule 25: slots whose settings steer what everybody sees make no key, on either side."""

from dataclasses import replace

import numpy as np
import pytest
from lying_relays import changed, swapped
from synthetic_blocks import LADDER, ListedSource, synthetic_run
from two_endpoints import QUICK, play, same_verdict
from witness import Witness

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint import exchange_commit
from bellrelay.endpoint.agreement import Agreement, ReconcileMethod, agreement_of
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.config import RandomHealthSettings, check_endpoint_config
from bellrelay.endpoint.peer_session import PeerSession, WrongPeer
from bellrelay.endpoint.source_health import RandomAlarm, SourceHealth
from bellrelay.wire.peer_messages import Kind, Reveal
from bellrelay.wire.tracking import TrackingSlots

SCHEDULE = TrackingSlots(every=10**9, length=4 * 10**7)


class AskedSource:
    """Remembers which slots were asked for."""

    def __init__(self, source):
        self._source = source
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._source, name)

    def choices(self, slots):
        self.asked.append(slots.copy())
        return self._source.choices(slots)


def tracked_run(change=lambda block: block):
    """A block whose relay announces in tracking slots as everywhere else."""
    run = synthetic_run()
    run.blocks = [change(block) for block in run.blocks]
    run.alice, run.bob = AskedSource(run.alice), AskedSource(run.bob)
    return run


def end_of(folder, run, schedule=SCHEDULE, **options):
    alice, bob = play(folder, run, tracking_slots=schedule, **options)
    same_verdict(alice, bob)
    return alice.rows()["1/0"]


def without_tracking(block):
    kept = ~SCHEDULE.inside(block.slot)
    return changed(block, block.slot[kept], block.outcome[kept])


def spoilt(block):
    """Another outcome in every tracking slot."""
    outcome = np.where(SCHEDULE.inside(block.slot), swapped(block.outcome), block.outcome)
    return changed(block, outcome=outcome)


def everywhere(block):
    """Announcements at both ends of every range of tracking slots, whatever was detected."""
    first = np.arange(0, int(block.slot[-1]), SCHEDULE.every, dtype=np.uint64)
    tracking = np.concatenate((first, first + np.uint64(SCHEDULE.length - 1)))
    slot = np.union1d(block.slot, tracking)
    outcome = np.ones(slot.size, np.uint8)
    outcome[np.searchsorted(slot, block.slot)] = block.outcome
    return changed(block, slot, outcome)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The same block of a relay that announces in no tracking slot."""
    row = end_of(tmp_path_factory.mktemp("honest"), tracked_run(without_tracking))
    assert row.state is BlockState.STORED
    return row.record


@pytest.mark.parametrize("lie", [lambda block: block, spoilt, everywhere])
def test_rule_25_what_a_relay_announces_in_tracking_slots_is_as_if_it_were_not(
    tmp_path, honest, lie
):
    run = tracked_run(lie)
    assert SCHEDULE.inside(run.blocks[0].slot).sum() > 1000
    with Witness() as witness:
        record = end_of(tmp_path, run).record
    for name in ("announced", "pulses", "tallies", "list_digest", "sifted_bits", "private_bits"):
        assert record[name] == honest[name], name
    for role, source in (("alice", run.alice), ("bob", run.bob)):
        asked = np.concatenate(source.asked)
        assert asked.size == record["announced"]
        assert not SCHEDULE.inside(asked).any()
        said = Reveal.parse(witness.bodies(Kind.REVEAL, role)[0])
        assert said.setting.size == record["announced"]


def test_rule_25_pulses_are_those_that_make_key(tmp_path, honest):
    run = synthetic_run()
    turns, rest = divmod(run.block_slots, 10**9)
    tracking = turns * 4 * 10**7 + min(rest, 4 * 10**7)
    assert honest["pulses_for_tracking"] == tracking
    assert honest["pulses"] == run.block_slots - tracking
    # Ranges that the senders dropped are counted once, where they hold tracking slots as well: of
    # the first the range at 10**9, of the second the half of that at 3 * 10**9.
    run.alice.lost = np.array([[5 * 10**8, 15 * 10**8]], np.uint64)
    run.bob.lost = np.array([[3 * 10**9 + 2 * 10**7, 3 * 10**9 + 9 * 10**7]], np.uint64)
    gone = 10**9 - 4 * 10**7 + 5 * 10**7
    record = end_of(tmp_path, run).record
    assert record["pulses"] == run.block_slots - tracking - gone
    assert record["pulses_removed"] == gone
    slot = run.blocks[0].slot
    kept = ~SCHEDULE.inside(slot)
    for first, end in (*run.alice.lost.tolist(), *run.bob.lost.tolist()):
        kept &= (slot < first) | (slot >= end)
    counted = sum(np.sum(c["n"]) for c in record["tallies"].values())
    assert counted == kept.sum()


def test_rule_25_no_bit_of_a_tracking_slot_is_in_the_sifted_key(tmp_path, monkeypatch):
    run = synthetic_run()
    slots = run.blocks[0].slot
    both = (run.alice.setting == 0) & (run.bob.setting == 0)
    given = {}

    def watched(role, bits, seed, error_rate):
        given[role] = bits.copy()
        return Cascade(role, bits, seed, error_rate)

    method = ReconcileMethod("cascade", 1, watched, reveals=True, heavy=None)
    monkeypatch.setattr(Agreement, "method", lambda agreement, bits: method)
    assert end_of(tmp_path, run).state is BlockState.STORED
    np.testing.assert_array_equal(given[Role.ALICE], run.alice.bit[both & ~SCHEDULE.inside(slots)])
    assert given[Role.ALICE].size < both.sum()


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_rule_25_who_leaves_tracking_slots_in_ends_without_key(tmp_path, monkeypatch, who):
    """The check can fail: one side that forgets the rule has another list."""
    honest = exchange_commit._without_tracking
    run = tracked_run()
    calls = []

    def forgetful(tracking, collected):
        calls.append(None)
        # Alice begins.
        mine = (len(calls) == 1) == (who == "alice")
        return collected if mine else honest(tracking, collected)

    monkeypatch.setattr(exchange_commit, "_without_tracking", forgetful)
    row = end_of(tmp_path, run)
    assert (row.state, row.cause) == (BlockState.ABORTED, Cause.LISTS_DIFFER)
    assert not run.alice.asked
    assert not run.bob.asked


def test_rule_25_who_counts_tracking_slots_as_pulses_ends_without_key(tmp_path, monkeypatch):
    count = TrackingSlots.count
    calls = []

    def miscounted(schedule, first, end):
        calls.append(None)
        return 0 if len(calls) == 1 else count(schedule, first, end)

    monkeypatch.setattr(TrackingSlots, "count", miscounted)
    row = end_of(tmp_path, tracked_run())
    assert (row.state, row.cause) == (BlockState.ABORTED, Cause.TALLIES_DIFFER)


@pytest.mark.parametrize("other", [TrackingSlots(), TrackingSlots(10**9, 4 * 10**7 + 1)])
def test_rule_25_endpoints_of_different_schedules_do_not_speak_with_each_other(other):
    one, two = (
        PeerSession(number, _agreement(schedule).digest)
        for number, schedule in enumerate((SCHEDULE, other))
    )
    with pytest.raises(WrongPeer):
        one.greet(two.hello())
    one.greet(PeerSession(1, _agreement(SCHEDULE).digest).hello())


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_rule_25_an_acquisition_has_one_schedule_whatever_the_configuration_says(tmp_path, who):
    """One side has asked for settings by another one, before both were configured anew."""

    def prepare(*parties_and_network):
        party = next(p for p in parties_and_network[:2] if p.name == who)
        store = BlockStore(party.folder, party.name)
        assert store.hold_schedule("charles", 1, TrackingSlots(2 * 10**9, 10**7))
        assert not store.hold_schedule("charles", 1, SCHEDULE)
        assert store.hold_schedule("charles", 2, SCHEDULE)
        assert store.hold_schedule("another", 1, SCHEDULE)
        store.close()

    run = tracked_run()
    row = end_of(tmp_path, run, prepare=prepare)
    assert (row.state, row.cause) == (BlockState.ABORTED, Cause.PARAMETERS)
    assert not run.alice.asked
    assert not run.bob.asked


def test_rule_25_a_list_of_another_schedule_is_another_list(tmp_path):
    digests = []
    for number, schedule in enumerate((SCHEDULE, TrackingSlots(2 * 10**9, 4 * 10**7))):
        run = tracked_run(without_tracking)
        digests.append(end_of(tmp_path / str(number), run, schedule).record["list_digest"])
    assert digests[0] != digests[1]


def _agreement(schedule):
    return Agreement(
        "alice", "bob", "charles", 10**6, LADDER, LADDER, QUICK, tracking_slots=schedule
    )


def test_what_the_configuration_says_is_agreed():
    from test_endpoint_config import changed as values

    config = check_endpoint_config(
        values(("tracking_slots", {"every": 250_000, "length": 1000}), ("tracking", None))
    )
    agreement = agreement_of(config)
    assert agreement.tracking_slots == TrackingSlots(250_000, 1000)
    assert agreement.digest != replace(agreement, tracking_slots=TrackingSlots()).digest


def test_rules_10_and_25_choices_of_tracking_slots_that_come_again_are_found():
    """They are public: a sender that sends them again, in slots of key, has nothing to hide."""
    schedule = TrackingSlots(100_000, 40_000)
    random = np.random.default_rng(5)
    block = 200_000
    setting = random.choice(4, 2 * block, p=LADDER.probabilities).astype(np.uint8)
    bit = random.integers(0, 2, 2 * block, dtype=np.uint8)

    def checked(bits):
        source = ListedSource(np.arange(2 * block, dtype=np.uint64), setting, bits, 2 * block)
        health = SourceHealth(RandomHealthSettings(slots_per_block=0), LADDER.probabilities)
        for first in (0, block):
            health.check(source, first, first + block)

    checked(bit)
    again = bit.copy()
    again[block + 50_000 : block + 90_000] = bit[:40_000]
    assert schedule.inside(np.arange(40_000)).all()
    assert not schedule.inside(np.arange(block + 50_000, block + 90_000)).any()
    with pytest.raises(RandomAlarm, match="came again"):
        checked(again)
