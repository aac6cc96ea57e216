"""The rules of security, broken one by one in a whole pipeline: no key, or a shorter one.

`docs/reference/security-rules.md` lists all of them and where each is held. Numbers are its.
"""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
import yaml
from crashes import play_deaths
from lying_relays import Eavesdropper, ScriptedRelay, photon_run, records_of
from synthetic_blocks import LADDER, synthetic_run
from two_endpoints import QUICK, play, same_verdict
from witness import Witness

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.security import Security
from bellrelay.distill.tally import Tally
from bellrelay.endpoint import exchange_sift
from bellrelay.endpoint.agreement import Agreement, ReconcileMethod
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.peer_session import PeerSession, WrongPeer
from bellrelay.endpoint.pipeline import PipelineSettings
from bellrelay.endpoint.source_log import Choices
from bellrelay.settings.model import ConfigError
from bellrelay.wire.messages import Event
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.peer_messages import Amplify, Kind, Reveal, Verify

NO_KEY = {Cause.NO_BOUND, Cause.NO_KEY}


def end_of(folder, run, **options):
    """Alice's row of the first block; both sides ended alike."""
    alice, bob = play(folder, run, **options)
    same_verdict(alice, bob)
    return alice.rows()["1/0"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A block without a fault: what is broken is compared with it."""
    row = end_of(tmp_path_factory.mktemp("good"), synthetic_run())
    assert row.state is BlockState.STORED
    return row.record


def tallies_of(record):
    """Of a block's record, as estimation saw them."""
    return {
        Outcome[name.upper()]: Tally(record["pulses"], np.array(counts["n"]), np.array(counts["m"]))
        for name, counts in record["tallies"].items()
    }


def private_bits(tallies, alice=LADDER, bob=LADDER, security=QUICK):
    """What both would bound of these counts."""
    agreement = Agreement("alice", "bob", "charles", 10**6, alice, bob, security)
    return agreement.estimate(tallies).private_bits


def moved(tallies, source, target):
    """Counts of one pair of settings taken for those of another."""
    out = {}
    for outcome, tally in tallies.items():
        n, m = tally.n.copy(), tally.m.copy()
        n[target] += n[source]
        n[source] = 0
        m[source] = 0
        out[outcome] = Tally(tally.pulses, n, m)
    return out


def test_rule_1_key_is_made_of_events_in_which_both_sent_the_signal(tmp_path, monkeypatch):
    run = synthetic_run()
    both = (run.alice.setting == 0) & (run.bob.setting == 0)
    given = {}

    def watched(role, bits, seed, error_rate):
        given[role] = bits.copy()
        return Cascade(role, bits, seed, error_rate)

    method = ReconcileMethod("cascade", 1, watched, reveals=True, heavy=None)
    monkeypatch.setattr(Agreement, "method", lambda agreement, bits: method)
    with Witness() as witness:
        row = end_of(tmp_path, run)
    assert row.state is BlockState.STORED
    np.testing.assert_array_equal(given[Role.ALICE], run.alice.bit[both])
    # And of all others the bits are public: they could not be key.
    for role, source in (("alice", run.alice), ("bob", run.bob)):
        said = Reveal.parse(witness.bodies(Kind.REVEAL, role)[0])
        np.testing.assert_array_equal(said.bit, source.bit[source.setting != 0])


def test_rule_1_who_takes_other_bits_for_key_ends_without_one(tmp_path, monkeypatch):
    """One side pools settings: the two no longer speak of the same bits."""
    mask = exchange_sift.key_mask
    calls = []

    def pooled_on_one_side(setting_a, setting_b):
        calls.append(None)
        return setting_a == setting_b if len(calls) == 1 else mask(setting_a, setting_b)

    monkeypatch.setattr(exchange_sift, "key_mask", pooled_on_one_side)
    row = end_of(tmp_path, synthetic_run())
    assert row.state is BlockState.ABORTED


def test_rule_2_a_relay_that_measures_in_z_has_no_errors_there_and_leaves_no_key(tmp_path):
    run, truth = photon_run(Eavesdropper(errors=0.5))
    row = end_of(tmp_path, run)
    assert row.cause in NO_KEY
    assert truth.private_bits < 100
    # The error rate of Z, put in the place of X, would have given all of them.
    assert truth.pairs > 5000


def test_rule_3_single_photon_pairs_are_counted_and_not_taken_from_a_model(tmp_path):
    """The gain of key is that of the honest link, and there is not one pair in it."""
    honest, _ = photon_run(Eavesdropper())
    pairs_blocked = Eavesdropper(pairs=0.0, multi=1.0)
    run, truth = photon_run(pairs_blocked)
    assert truth.pairs == 0
    assert honest.blocks[0].slot.size == pytest.approx(run.blocks[0].slot.size, rel=0.01)
    assert end_of(tmp_path, run).cause in NO_KEY


def test_rule_4_every_bound_has_its_share_of_the_epsilon(good):
    tallies = tallies_of(good)
    lengths = [private_bits(tallies, security=Security(secrecy=e)) for e in (0.3, 1e-2, 1e-4)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[2] < 0.9 * lengths[0]
    # Fewer errors in any pair of settings never cost key, more never give any.
    for cell in ((1, 2), (2, 1), (2, 2)):
        worse = {}
        for outcome, tally in tallies.items():
            m = tally.m.copy()
            m[cell] = tally.n[cell]
            worse[outcome] = Tally(tally.pulses, tally.n, m)
        assert private_bits(worse) < private_bits(tallies), cell


def test_rule_5_a_sender_that_sends_a_setting_in_both_bases_is_refused(tmp_path):
    run = synthetic_run()

    class Wrong(type(run.alice)):
        slot_period_ps = 1.0

        def choices(self, slots):
            answer = super().choices(slots)
            basis = answer.basis.copy()
            basis[0] ^= 1
            return Choices(basis, answer.setting, answer.bit)

    wrong = Wrong(run.alice.slots, run.alice.setting, run.alice.bit, run.alice.end)
    run.alice = CheckedSource(wrong, 1, LADDER.intensities, LADDER.probabilities)
    row = end_of(tmp_path, run)
    assert row.cause == Cause.SOURCE_RECORD


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_rules_6_and_14_pulses_are_what_both_have_sent_and_still_know(tmp_path, good, who):
    run = synthetic_run()
    lost = [[0, run.block_slots // 3]]
    getattr(run, who).lost = np.array(lost, np.uint64)
    record = end_of(tmp_path, run).record
    assert record["pulses"] == run.block_slots - lost[0][1]
    kept = run.blocks[0].slot >= lost[0][1]
    assert sum(np.sum(c["n"]) for c in record["tallies"].values()) == kept.sum()
    # With the pairs sent taken for more or fewer than they were, the bound is another one.
    assert record.get("length", 0) < good["length"]


def test_rule_14_records_that_were_lost_one_by_one_are_no_range_and_end_the_block(tmp_path):
    run = synthetic_run()
    slots = run.blocks[0].slot[:5000]
    run.alice.lost = np.stack([slots, slots + np.uint64(1)], axis=1)
    row = end_of(tmp_path, run)
    assert row.cause == Cause.SOURCE_RECORD
    assert "ranges of slots are missing" in row.detail


def test_rule_7_vacuum_counts_with_the_basis_of_the_other_party(tmp_path, good):
    run = synthetic_run()
    for (a, b), count in np.ndenumerate(sum(np.array(c["n"]) for c in good["tallies"].values())):
        assert count == np.sum((run.alice.setting == a) & (run.bob.setting == b))
    # Vacuum with the other's signal taken for vacuum with his decoy would promise too much.
    tallies = tallies_of(good)
    mixed = moved(moved(tallies, (3, 0), (3, 2)), (0, 3), (2, 3))
    assert private_bits(mixed) > 1.02 * private_bits(tallies)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_rule_8_what_is_not_known_of_intensities_costs_key(good, who):
    tallies = tallies_of(good)
    bits = []
    for deviation in (0.0, 0.01, 0.05):
        ladders = {"alice": LADDER, "bob": LADDER} | {who: replace(LADDER, deviation=deviation)}
        bits.append(private_bits(tallies, **ladders))
    assert bits[0] > bits[1] > bits[2]


CONFIG = """
endpoint_id: a
peer_id: b
role: alice
relay: {id: c, unix_socket: announcements}
peer: {connect: "b:1", name: b, tls: {certificate: c, key: k, ca: a}}
source: {plugin: simulation}
alice: {s: 0.4, mu: 0.3, nu: 0.05, o: 0.0, p_s: 0.45, p_mu: 0.1, p_nu: 0.3}
bob: {s: 0.4, mu: 0.3, nu: 0.05, o: 0.0, p_s: 0.45, p_mu: 0.1, p_nu: 0.3}
block: {slots: 20000}
store: {directory: store}
key_pool: {file: pool}
intensity_monitor: {input: source}
"""


@pytest.mark.parametrize("phase", ["fixed", "continuous-wave", "eight", True])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_rule_9_a_sender_whose_phase_is_not_uniform_cannot_be_declared(who, phase):
    values = yaml.safe_load(CONFIG)
    values[who]["phase"] = "uniform"
    check_endpoint_config(values)
    values[who]["phase"] = phase
    with pytest.raises(ConfigError, match=rf"{who}\.phase.*uniform"):
        check_endpoint_config(values, "alice.yaml")


def _followed(party, records, run):
    relay = ScriptedRelay(records)
    party._feed = lambda: AnnouncementFollower(relay.connect, "charles", run.block_slots).run(
        party.pipeline
    )


def test_rule_13_what_the_relay_says_of_itself_enters_no_bound(tmp_path, good):
    run = synthetic_run()
    boasts = {"error_rate_x": 0.0, "visibility": 1.0, "dead_time_ps": 0, "pulses": 1, "lost": 0}

    def prepare(*parties_and_network):
        for party in parties_and_network[:2]:
            start, *rest = records_of(run.blocks[0])
            start = Event(0, 1, {"kind": "start", **boasts})
            summary = Event(1, 1, {"kind": "summary", **boasts})
            rest = [replace(record, sequence=record.sequence + 1) for record in rest]
            _followed(party, [start, summary, *rest], run)

    record = end_of(tmp_path, run, prepare=prepare).record
    for name in ("pulses", "tallies", "private_bits", "n11_lower", "phase_error_upper"):
        assert record[name] == good[name], name


class Corrected(Cascade):
    """A reconciliation that differs from an honest one in one thing."""

    more = 0
    wrong = False
    fails = False

    @property
    def disclosed_bits(self):
        return super().disclosed_bits + self.more

    @property
    def failed(self):
        return np.ones_like(super().failed) if self.fails else super().failed

    @property
    def bits(self):
        bits = super().bits
        if self.wrong:
            bits = bits.copy()
            bits[bits.size // 2] ^= 1
        return bits


def corrected(monkeypatch, **changes):
    """Both sides correct like this; changes with a role are one side's only."""

    def engine(role, bits, seed, error_rate):
        made = Corrected(role, bits, seed, error_rate)
        for name, value in changes.items():
            setattr(made, name, value.get(role, 0) if isinstance(value, dict) else value)
        return made

    method = ReconcileMethod("cascade", 1, engine, reveals=True, heavy=None)
    monkeypatch.setattr(Agreement, "method", lambda agreement, bits: method)


def deterministic(monkeypatch):
    """Every seed is the same from run to run: for comparisons, of messages alone."""
    draw = random.Random(7)
    monkeypatch.setattr(os, "urandom", draw.randbytes)


def test_rule_15_every_bit_that_was_disclosed_is_a_bit_less(tmp_path, monkeypatch):
    lengths = []
    for more in (0, 1, 100):
        with monkeypatch.context() as patch:
            deterministic(patch)
            corrected(patch, more=more)
            record = end_of(tmp_path / str(more), synthetic_run()).record
        assert record["leak_ec"] >= record["disclosed_bits"]
        lengths.append(record["length"])
    assert lengths == [lengths[0], lengths[0] - 1, lengths[0] - 100]


def test_rule_15_frames_that_failed_are_given_up_whole_and_were_private(tmp_path, monkeypatch):
    corrected(monkeypatch, fails=True)
    row = end_of(tmp_path, synthetic_run())
    assert row.cause == Cause.NO_KEY
    assert row.record["bits_discarded"] == row.record["sifted_bits"]


def test_rule_15_who_counts_fewer_bits_than_the_peer_ends_without_key(tmp_path, monkeypatch):
    corrected(monkeypatch, more={Role.BOB: 1})
    assert end_of(tmp_path, synthetic_run()).cause == Cause.LEDGERS_DIFFER


def test_rule_16_no_bit_of_key_is_disclosed_for_an_error_rate(tmp_path):
    """Whatever the bits of key are, what is revealed in sifting is the same."""
    said = []
    for flip in (0, 1):
        run = synthetic_run()
        for source in (run.alice, run.bob):
            source.bit = np.where(source.setting == 0, source.bit ^ flip, source.bit)
        with Witness() as witness:
            row = end_of(tmp_path / str(flip), run)
        assert row.state is BlockState.STORED
        both = (run.alice.setting == 0) & (run.bob.setting == 0)
        assert row.record["sifted_bits"] == both.sum()
        said.append([witness.bodies(Kind.REVEAL, who) for who in ("alice", "bob")])
    assert said[0] == said[1]


def test_rule_16_blocks_are_cut_before_anything_is_known():
    """Who would cut another way does not speak with us at all."""
    ours = Agreement("alice", "bob", "charles", 10**6, LADDER, LADDER, QUICK)
    theirs = replace(ours, block_slots=10**6 + 1)
    alice, bob = PeerSession(0, ours.digest), PeerSession(1, theirs.digest)
    with pytest.raises(WrongPeer):
        alice.greet(bob.hello())


def test_rule_17_one_wrong_bit_after_correction_is_seen(tmp_path, monkeypatch):
    corrected(monkeypatch, wrong={Role.BOB: True})
    assert end_of(tmp_path, synthetic_run()).cause == Cause.VERIFICATION


def test_rule_17_the_hash_has_a_fresh_key_drawn_when_bits_are_fixed(tmp_path):
    with Witness() as witness:
        alice, _, moments = play_deaths(tmp_path, synthetic_run(blocks=2), blocks=2)
    keys = [Verify.parse(body).key for body in witness.bodies(Kind.VERIFY)]
    assert len(set(keys)) == 2
    for moment in ("reconciled", "verified"):
        assert ("alice", f"after {moment}") in moments
    order = [m for who, m in moments if who == "alice"]
    assert order.index("after reconciled") < order.index("before sending reconcile verify")
    record = alice.rows()["1/0"].record
    agreement = alice.agreement
    assert record["verification_bits"] == 128
    assert record["epsilons"]["correctness"] == agreement.security.correctness


def test_rule_18_the_whole_block_is_hashed_by_a_seed_drawn_after_correction(tmp_path):
    with Witness() as witness:
        alice, _, moments = play_deaths(tmp_path, synthetic_run())
    record = alice.rows()["1/0"].record
    said = Amplify.parse(witness.bodies(Kind.AMPLIFY)[0])
    kept = record["sifted_bits"] - record["bits_discarded"]
    assert said.length == record["length"]
    assert len(said.seed_packed) == (kept + said.length - 1 + 7) // 8
    order = [m for who, m in moments if who == "alice"]
    assert order.index("after verified") < order.index("before sending amplify amplify")
    assert record["length"] < record["private_bits"] - record["leak_ec"] - 128


@pytest.mark.parametrize("change", [1, -1, 9000])
def test_rule_18_who_wants_a_longer_key_does_not_get_it(tmp_path, monkeypatch, change):
    length = Agreement.secret_length
    lengths = []

    def another(agreement, bounds, leak_ec, discarded):
        found = length(agreement, bounds, leak_ec, discarded)
        if leak_ec:
            found += 0 if lengths else change
            lengths.append(found)
        return found

    monkeypatch.setattr(Agreement, "secret_length", another)
    row = end_of(tmp_path, synthetic_run())
    if change > 1:
        assert row.cause == Cause.LEDGERS_DIFFER
    else:
        assert row.record["length"] == min(lengths) == max(lengths) - 1


def test_rule_18_nothing_left_is_no_key(tmp_path, monkeypatch):
    corrected(monkeypatch, more=10**6)
    row = end_of(tmp_path, synthetic_run())
    assert row.cause == Cause.NO_KEY


def test_rule_19_each_outcome_has_its_own_bound_and_share_or_both_are_counted_as_one(good):
    tallies = tallies_of(good)
    pooled = Agreement("a", "b", "c", 10**6, LADDER, LADDER, QUICK).estimate(tallies)
    apart = Agreement(
        "a", "b", "c", 10**6, LADDER, LADDER, replace(QUICK, outcomes="separate")
    ).estimate(tallies)
    assert [len(bound.outcomes) for bound in pooled.bounds] == [2]
    assert sorted(bound.outcomes for bound in apart.bounds) == [(o,) for o in sorted(tallies)]
    assert apart.ledger.total == pooled.ledger.total
    assert apart.private_bits < pooled.private_bits
    # Which of the two is agreed before any data: who has the other does not speak with us.
    ours = Agreement("a", "b", "c", 10**6, LADDER, LADDER, QUICK)
    theirs = replace(ours, security=replace(QUICK, outcomes="separate"))
    with pytest.raises(WrongPeer):
        PeerSession(0, ours.digest).greet(PeerSession(1, theirs.digest).hello())


def test_rule_20_epsilons_add_up_and_go_with_every_key(tmp_path):
    security = Security(secrecy=0.2, correctness=1e-12, authentication=1e-13)
    alice, bob = play(tmp_path, synthetic_run(50_000, blocks=2), security=security, blocks=2)
    assert len(alice.keys()) == len(bob.keys()) == 2
    for party in (alice, bob):
        for row in party.rows().values():
            epsilons = row.record["epsilons"]
            assert epsilons["secrecy"] <= 0.2 * (1 + 1e-12)
            assert epsilons["correctness"] == 1e-12
            assert epsilons["authentication"] == 1e-13
            parts = ("secrecy", "correctness", "authentication")
            assert epsilons["total"] >= sum(epsilons[name] for name in parts) * (1 - 1e-12)


def test_rule_21_tags_are_paid_for_and_a_pool_that_is_short_begins_no_block(tmp_path):
    with Witness() as witness:
        row = end_of(tmp_path / "enough", synthetic_run(), refill_share=0.1)
    assert row.state is BlockState.STORED
    assert sum(size for _, size, _ in witness.drawn["alice"]) == 4 * 32
    assert sum(size for _, size, _ in witness.drawn["bob"]) == 4 * 32
    with Witness() as witness:
        row = end_of(tmp_path / "short", synthetic_run(), pool_bytes=7 * 32)
    assert row.cause == Cause.POOL_DRY
    assert not witness.bodies(Kind.REVEAL)


def test_rule_21_what_is_too_long_for_its_epsilon_is_not_believed(tmp_path):
    security = replace(QUICK, authentication=1e-30)
    row = end_of(tmp_path, synthetic_run(), security=security)
    assert row.cause == Cause.AUTHENTICATION


def test_rule_22_each_party_has_its_own_ladder(good):
    # Alice's weak decoy is a third of Bob's. Read with the ladders exchanged, the counts would
    # promise too much; that cannot happen, as both must have the same ladder for the same name.
    weak = replace(LADDER, nu=LADDER.nu / 3)
    tallies = {}
    for outcome, tally in tallies_of(good).items():
        n, m = tally.n.copy(), tally.m.copy()
        n[2, :] = n[2, :] // 3
        m[2, :] = m[2, :] // 3
        tallies[outcome] = Tally(tally.pulses, n, m)
    right, exchanged = private_bits(tallies, weak, LADDER), private_bits(tallies, LADDER, weak)
    assert 0 < 1.05 * right < exchanged
    ours = Agreement("alice", "bob", "charles", 10**6, weak, LADDER, QUICK)
    theirs = Agreement("alice", "bob", "charles", 10**6, LADDER, weak, QUICK)
    with pytest.raises(WrongPeer):
        PeerSession(0, ours.digest).greet(PeerSession(1, theirs.digest).hello())
    assert set(good["ladders"]) == {"alice", "bob"}


def test_rule_23_the_rule_of_length_is_said_and_a_fixed_one_is_all_or_nothing(tmp_path, good):
    assert good["length_rule"] == "variable"
    for bits, state in ((500, BlockState.STORED), (good["length"] + 500, BlockState.ABORTED)):
        security = replace(QUICK, length_rule="fixed", fixed_length_bits=bits)
        row = end_of(tmp_path / str(bits), synthetic_run(), security=security)
        assert row.state is state
        assert row.record["length_rule"] == "fixed"
        if state is BlockState.STORED:
            assert row.record["length"] == bits


def test_rule_24_sizes_and_order_of_messages_tell_nothing_of_the_bits(tmp_path, monkeypatch):
    """Other bits with errors in the same places: the same messages of the same lengths."""
    shapes = []
    for seed in (None, 1, 2):
        run = synthetic_run()
        if seed is not None:
            flips = np.random.default_rng(seed).integers(0, 2, run.alice.bit.size, dtype=np.uint8)
            run.alice.bit = run.alice.bit ^ flips
            run.bob.bit = run.bob.bit ^ flips
        with monkeypatch.context() as patch, Witness() as witness:
            deterministic(patch)
            settings = PipelineSettings(patience_s=60.0, settle_s=0.1, max_in_flight=1)
            assert end_of(tmp_path / str(seed), run, settings=settings).state is BlockState.STORED
        shapes.append(
            {
                who: [(kind, len(body)) for w, kind, _, _, body in witness.said if w == who]
                for who in ("alice", "bob")
            }
        )
    assert shapes[0] == shapes[1] == shapes[2]
    assert sum(map(len, shapes[0].values())) > 20
