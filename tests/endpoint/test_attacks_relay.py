"""A relay that lies gains nothing: no key, or one that is no longer than the truth allows."""

import asyncio

import numpy as np
import pytest
from crashes import Death, play_deaths
from lying_relays import (
    Eavesdropper,
    EverySlot,
    ScriptedRelay,
    changed,
    photon_run,
    records_of,
    swapped,
)
from synthetic_blocks import synthetic_run
from two_endpoints import QUICK, play, same_verdict
from witness import Witness

from bellrelay.endpoint import announcements
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.daemon import resume_position
from bellrelay.wire.messages import Announced, Event
from bellrelay.wire.peer_messages import Kind

NO_KEY = {Cause.NO_BOUND, Cause.NO_KEY}


def told(folder, run, to_alice, to_bob=None, **options):
    """What comes of what the relay says of a run's first block: (rows of both, witness)."""
    to_bob = to_alice if to_bob is None else to_bob

    def prepare(alice, bob, _network):
        alice.blocks, bob.blocks = [to_alice], [to_bob]

    with Witness() as witness:
        alice, bob = play(folder, run, prepare=prepare, **options)
    same_verdict(alice, bob)
    return alice.rows()["1/0"], bob.rows()["1/0"], witness


def _everywhere(run):
    for name in ("alice", "bob"):
        source = getattr(run, name)
        setattr(run, name, EverySlot(source.slots, source.setting, source.bit, source.end))
    return run


def test_an_honest_relay_gets_a_key(tmp_path):
    """So that what follows is refused for what the relay did, and not for want of anything else."""
    run = _everywhere(synthetic_run())
    row, _, _ = told(tmp_path, run, run.blocks[0])
    assert row.state is BlockState.STORED


def _outcomes_at_random(block, random):
    return changed(block, outcome=random.integers(1, 3, block.slot.size, dtype=np.uint8))


def _outcomes_swapped(block, _):
    return changed(block, outcome=swapped(block.outcome))


def _outcomes_all_alike(block, _):
    return changed(block, outcome=np.ones_like(block.outcome))


def _slots_at_random(block, random):
    end = int(block.slot[-1])
    return changed(block, slot=np.sort(random.choice(end, block.slot.size, False)).astype("u8"))


def _slots_of_the_neighbours(block, _):
    return changed(block, slot=block.slot + np.uint64(1))


@pytest.mark.parametrize(
    "lie",
    [
        _outcomes_at_random,
        _outcomes_swapped,
        _outcomes_all_alike,
        _slots_at_random,
        _slots_of_the_neighbours,
    ],
)
def test_rule_11_a_list_that_is_not_what_was_detected_makes_no_key(tmp_path, lie):
    run = _everywhere(synthetic_run())
    row, _, witness = told(tmp_path, run, lie(run.blocks[0], np.random.default_rng(1)))
    assert row.state is BlockState.ABORTED
    assert row.cause in NO_KEY
    # And nothing about bits of key was said on the way.
    assert not witness.bodies(Kind.START)


def _one_more(block):
    return changed(
        block, np.append(block.slot, block.slot[-1] + 1), np.append(block.outcome, np.uint8(1))
    )


def _one_less(block):
    return changed(block, block.slot[1:], block.outcome[1:])


def _one_outcome(block):
    outcome = block.outcome.copy()
    outcome[7] = swapped(outcome[7:8])[0]
    return changed(block, outcome=outcome)


def _one_slot(block):
    slot = block.slot.copy()
    slot[7] += np.uint64(1)
    return changed(block, slot)


@pytest.mark.parametrize("lie", [_one_more, _one_less, _one_outcome, _one_slot])
@pytest.mark.parametrize("to", ["alice", "bob"])
def test_rule_12_different_lists_are_seen_before_anything_is_revealed(tmp_path, lie, to):
    run = _everywhere(synthetic_run())
    lists = [run.blocks[0], lie(run.blocks[0])]
    rows = told(tmp_path, run, *(lists if to == "bob" else lists[::-1]))
    witness = rows[2]
    assert {row.cause for row in rows[:2]} == {Cause.LISTS_DIFFER}
    assert not witness.bodies(Kind.REVEAL)


def _after_the_fact(run):
    """The list without the events that speak against a key, chosen when choices are known."""
    a, b = run.alice, run.bob
    block = run.blocks[0]
    x = (a.setting != 0) & (b.setting != 0)
    flips = block.outcome == 1
    wrong = x & ((a.bit ^ b.bit ^ flips) == 1)
    # As many of the others go, so that gains stay as a weaker link would have them.
    keep = ~wrong & (x | (np.arange(x.size) % 2 == 0))
    return changed(block, block.slot[keep], block.outcome[keep])


def test_rule_12_announcements_chosen_by_settings_would_beat_the_bound_and_come_too_late(tmp_path):
    """He measures every pair in Z, and knows all bits. Could he see settings first, we were lost:
    that is what committing before revealing is for."""
    run, truth = photon_run(Eavesdropper(errors=0.5, multi=0.0))
    assert truth.private_bits < 50
    honest = run.blocks[0]
    row, _, _ = told(tmp_path / "in time", run, honest)
    assert row.cause in NO_KEY
    run, _ = photon_run(Eavesdropper(errors=0.5, multi=0.0))
    chosen = _after_the_fact(run)
    row, _, _ = told(tmp_path / "clairvoyant", run, chosen)
    assert row.state is BlockState.STORED
    assert row.record["length"] > truth.private_bits
    # But he sees them only once both hold the same list, and that stays the list.
    run, _ = photon_run(Eavesdropper(errors=0.5, multi=0.0))

    def another_list(*parties):
        for party in parties:
            party.blocks = [chosen]

    for number, moment in enumerate(("after hearing sift reveal", "after hearing sift tallies")):
        run, _ = photon_run(Eavesdropper(errors=0.5, multi=0.0))
        death = Death("alice", moment, "both die", then=another_list)
        alice, bob, _ = play_deaths(tmp_path / str(number), run, death)
        assert death.came
        assert same_verdict(alice, bob) == {"1/0": BlockState.ABORTED}
        assert Cause.LIST_CHANGED in {p.rows()["1/0"].cause for p in (alice, bob)}


def test_rule_12_nothing_is_revealed_before_the_peers_tag_over_the_list(tmp_path):
    run = synthetic_run()
    with Witness() as witness:
        alice, bob, moments = play_deaths(tmp_path, run)
    same_verdict(alice, bob)
    for who in ("alice", "bob"):
        trusted = moments.index((who, "after hearing commit tag"))
        assert moments.index((who, "before sending sift reveal")) > trusted
    kinds = [kind for _, kind, *_ in witness.said]
    assert kinds.index(Kind.REVEAL) > kinds.index(Kind.COMMIT)


# ------------------------------------------------------------------------------ records of its log


def _twice(records, at=2):
    part = records[at]
    slot = np.concatenate([part.slot[:5], part.slot[4:5], part.slot[5:-1]])
    records[at] = Announced(part.sequence, 1, slot, part.outcome)
    return records


def _two_outcomes(records, at=2):
    part = records[at]
    slot = np.concatenate([part.slot[:5], part.slot[4:5], part.slot[5:-1]])
    outcome = part.outcome.copy()
    outcome[5] = swapped(outcome[4:5])[0]
    records[at] = Announced(part.sequence, 1, slot, outcome)
    return records


def _backwards(records, at=2):
    part = records[at]
    slot = part.slot.copy()
    slot[[4, 5]] = slot[[5, 4]]
    records[at] = Announced(part.sequence, 1, slot, part.outcome)
    return records


def _far_outside(records, at=2):
    part = records[at]
    slot = part.slot.copy()
    slot[-1] = np.uint64(1 << 63)
    records[at] = Announced(part.sequence, 1, slot, part.outcome)
    return records


def _third_state(records, at=2):
    part = records[at]
    outcome = part.outcome.copy()
    outcome[3] = 3
    records[at] = Announced(part.sequence, 1, part.slot, outcome)
    return records


def _left_out(records, at=2):
    return [*records[:at], *records[at + 1 :]]


def _of_an_old_acquisition(records, at=2):
    part = records[at]
    records[at] = Announced(part.sequence, 0, part.slot, part.outcome)
    return records


def _the_same_again(records, _at=2):
    """The whole acquisition is replayed after its end."""
    later = []
    for record in records[:-1]:
        sequence = records[-1].end + record.sequence
        if isinstance(record, Event):
            later.append(Event(sequence, record.acquisition, record.values))
        else:
            later.append(Announced(sequence, record.acquisition, record.slot, record.outcome))
    return records + later


def _followed(party, relay, run):
    def feed():
        begin = resume_position(party.store)
        follower = AnnouncementFollower(relay.connect, "charles", run.block_slots, begin)
        return follower.run(party.pipeline)

    party._feed = feed


@pytest.mark.parametrize(
    ("lie", "cause"),
    [
        (_twice, Cause.DUPLICATE_SLOT),
        (_two_outcomes, Cause.TWO_OUTCOMES),
        (_backwards, Cause.NOT_INCREASING),
        (_far_outside, Cause.OUT_OF_RANGE),
        (_third_state, Cause.UNKNOWN_OUTCOME),
        (_left_out, Cause.MISSING_RECORDS),
        (_of_an_old_acquisition, Cause.WRONG_ACQUISITION),
    ],
)
@pytest.mark.parametrize("to", [{"alice"}, {"bob"}, {"alice", "bob"}])
def test_rule_11_a_breach_ends_the_block_on_both_sides_and_the_relay_is_believed_no_more(
    tmp_path, lie, cause, to
):
    run = synthetic_run(2000)

    def prepare(*parties_and_network):
        for party in parties_and_network[:2]:
            records = records_of(run.blocks[0])
            relay = ScriptedRelay(lie(records) if party.name in to else records)
            _followed(party, relay, run)

    alice, bob = play(tmp_path, run, prepare=prepare)
    assert same_verdict(alice, bob) == {"1/0": BlockState.ABORTED}
    for party in (alice, bob):
        store = BlockStore(party.folder, party.name)
        assert (store.quarantined("charles") is not None) == (party.name in to)
        store.close()
        # Whichever of the two words comes first, the relay's or the peer's, it is the cause.
        assert party.rows()["1/0"].cause == cause


def test_rule_11_an_old_acquisition_that_is_replayed_makes_no_second_block(tmp_path):
    run = synthetic_run()
    relays = []

    def prepare(*parties_and_network):
        for party in parties_and_network[:2]:
            relays.append(ScriptedRelay(_the_same_again(records_of(run.blocks[0]))))
            _followed(party, relays[-1], run)

    alice, bob = play(tmp_path, run, prepare=prepare)
    # The block had ended as it should; the replay adds nothing to it, and costs the relay its word.
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    assert len(alice.keys()) == 1
    for party in (alice, bob):
        store = BlockStore(party.folder, party.name)
        quarantine = store.quarantined("charles")
        store.close()
        assert quarantine[0] == Cause.WRONG_ACQUISITION


def test_a_relay_that_dies_after_every_record_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(announcements, "_BACKOFF_S", (0.001, 0.002))
    run = synthetic_run()
    relays = []

    def prepare(*parties_and_network):
        for party in parties_and_network[:2]:
            records = records_of(run.blocks[0], pieces=7)
            relays.append(ScriptedRelay(records, hang_up_after=1))
            _followed(party, relays[-1], run)

    alice, bob = play(tmp_path, run, prepare=prepare)
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    assert all(relay.connections >= 9 for relay in relays)
    assert alice.rows()["1/0"].record["announced"] == run.blocks[0].slot.size


def test_another_relay_under_the_same_address_is_not_listened_to(tmp_path):
    run = synthetic_run(2000)

    async def main():
        relay = ScriptedRelay(records_of(run.blocks[0]), relay_id="mallory")
        follower = AnnouncementFollower(relay.connect, "charles", run.block_slots)
        task = asyncio.ensure_future(follower.run(None))
        while not follower.reason:
            await asyncio.sleep(0.01)
        task.cancel()
        return follower.reason

    assert "'mallory' answers, not 'charles'" in asyncio.run(main())


# -------------------------------------------------------------------------- who counts the photons


@pytest.mark.parametrize(
    ("eve", "key"),
    [
        (Eavesdropper(), True),
        # Pairs are blocked in part, and pulses of more photons let through instead.
        (Eavesdropper(pairs=0.05, multi=1.0), True),
        (Eavesdropper(pairs=0.02, multi=1.0, multi_errors=0.0), None),
        (Eavesdropper(pairs=0.002, multi=1.0, multi_errors=0.0), False),
        # None of them is let through: he has every bit.
        (Eavesdropper(pairs=0.0, multi=1.0, multi_errors=0.0), False),
        (Eavesdropper(pairs=0.0, multi=0.01, multi_errors=0.0), False),
        # He measures pairs in Z.
        (Eavesdropper(errors=0.5, multi_errors=0.0), False),
        (Eavesdropper(errors=0.2, multi_errors=0.0), None),
        # Many events without a photon of Alice.
        (Eavesdropper(vacuum=0.0003), None),
        (Eavesdropper(pairs=0.0, vacuum=0.0003), False),
    ],
)
def test_splitting_photon_numbers_never_beats_the_truth(tmp_path, eve, key):
    for seed in range(2):
        run, truth = photon_run(eve, seed=seed)
        row, _, _ = told(tmp_path / str(seed), run, run.blocks[0], security=QUICK)
        stored = row.state is BlockState.STORED
        assert key is None or stored == key
        assert stored or row.cause in NO_KEY
        record = row.record
        if "n11_lower" in record:
            assert record["n11_lower"] <= truth.pairs
        if record.get("length"):
            # Who knows Bob's bits, and from correction where Alice's differ, knows what she sent
            # without a photon: the key lives on pairs alone.
            disclosed = record["disclosed_bits"] + record["verification_bits"]
            assert record["length"] + disclosed <= truth.private_bits
