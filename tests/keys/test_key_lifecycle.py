"""What time and operators do to keys: expiry, another KEK, alarms, incidents; and who owns what."""

import os
import subprocess
import sys
import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_pairs import KME_IDS, PAIRS, SECOND, UNIT_BITS, TwoStores, keyring

from bellrelay.keys.cutting import cut, join
from bellrelay.keys.incident import Selector, UnknownSuspension, Verdict
from bellrelay.keys.kek_file import FileKek, write_kek_file
from bellrelay.keys.key_requests import FetchRefused, PeerAnswer, Refusal, Shortage
from bellrelay.keys.key_states import KeyState
from bellrelay.keys.lifecycle import KekDue, Lifecycle, LifecyclePolicy, LowWater
from bellrelay.keys.pairs import Pair, Pairs
from bellrelay.keys.sealing import Keyring

WHO = "operator:x"


@pytest.fixture
def two(tmp_path):
    with TwoStores(tmp_path, max_age_s=1000, margin_s=10, fetch_within_s=100, keep_s=500) as stores:
        yield stores


class TestAge:
    def test_old_units_are_held_back_and_then_wiped(self, two):
        two.block()
        two.clock.pass_s(991)
        assert two.a.free_units("bank") == 0
        assert isinstance(two.reserve(), Shortage)
        assert two.a.expire().units == 0
        two.clock.pass_s(10)
        assert two.a.expire().units == 40
        assert two.a.keks() == {}
        assert two.a.expire().units == 0

    def test_what_nobody_fetches_expires(self, two):
        two.block()
        (key,) = two.give()
        two.clock.pass_s(101)
        assert (two.a.expire().keys, two.b.expire().keys) == (0, 1)
        assert two.b.key(key.key_id).state is KeyState.EXPIRED
        assert two.fetch([key.key_id]).refusals == {key.key_id: Refusal.NOT_FOUND}

    def test_what_ended_long_ago_is_forgotten_and_never_comes_back(self, two):
        block = two.block()
        (key,) = two.give()
        two.fetch([key.key_id])
        two.clock.pass_s(1001)
        two.a.expire()
        assert two.a.purge() == 1
        assert two.a.key(key.key_id) is None
        facts, data = two.blocks[block]
        from bellrelay.keys.provenance import FinishedKey

        assert not two.a.add_block(FinishedKey(facts, bytearray(data)))
        assert isinstance(two.reserve(), Shortage)


class TestAnotherKek:
    def test_everything_is_sealed_anew_in_pieces_while_keys_are_given(self, two):
        two.block()
        two.give()
        (key,) = two.give()
        two.close()
        write_kek_file(two.folder / "new.kek")
        old, new = FileKek(two.folder / "kme-b.kek"), FileKek(two.folder / "new.kek")
        two.open(keyrings=(None, Keyring(new, [old])))
        assert two.b.reseal(7) == 7
        assert set(two.b.keks()) == {old.kek_id, new.kek_id}
        # Interrupted, and taken up again by another process.
        two.close()
        two.open(keyrings=(None, Keyring(new, [old])))
        assert [k.key for k in two.fetch([key.key_id])] == [key.key]
        while two.b.reseal(7):
            pass
        assert set(two.b.keks()) == {new.kek_id}
        two.close()
        two.open(keyrings=(None, Keyring(new)))
        (key,) = two.give()
        assert [k.key for k in two.fetch([key.key_id])] == [key.key]


class TestRounds:
    def test_alarms_come_once_and_end_at_a_quarter_more(self, two):
        alarms = []
        policy = LifecyclePolicy(low_water=8, low_water_of={"clinic": 0})
        lifecycle = Lifecycle(two.a, policy, alarms.append, two.clock)
        lifecycle.round()
        assert alarms == [LowWater("bank", 0, 8, raised=True)]
        two.block(units=24)
        assert two.a.free_units("bank") == 8
        assert dict(lifecycle.round().low) == {"bank": 8}
        two.block(units=24)
        lifecycle.round()
        assert alarms[1:] == [LowWater("bank", 16, 8, raised=False)]
        assert dict(lifecycle.status.low) == {}

    def test_a_worn_kek_is_told_of(self, two):
        alarms = []
        lifecycle = Lifecycle(two.a, LifecyclePolicy(kek_max_seals=40), alarms.append, two.clock)
        assert not lifecycle.round().kek_due
        two.block(units=40)
        assert lifecycle.round().kek_due
        lifecycle.round()
        (alarm,) = alarms
        assert isinstance(alarm, KekDue)
        assert alarm.seals == 41

    def test_does_what_is_due(self, two):
        two.block()
        two.give()
        lifecycle = Lifecycle(two.b, LifecyclePolicy(round_s=30), clock=two.clock)
        two.clock.pass_s(2000)
        status = lifecycle.round()
        assert (status.units_expired, status.keys_expired) == (39, 1)
        two.clock.pass_s(600)
        assert lifecycle.round().keys_forgotten == 1


class TestIncidents:
    def test_holds_back_a_relay_until_the_verdict_and_nothing_else(self, two):
        bad, good = two.block(relay="charles"), two.block(relay="diana")
        (first,) = two.give()
        assert two.a.key(first.key_id).units[0][0] == bad
        (pending,) = two.reserve()
        two.b.adopt([pending])
        found = [s.suspend(Selector("charles"), "blinded", WHO) for s in two.stores]
        assert found[1].scope.keys_in_flight == 2
        assert two.a.deliver([pending.key_id]) == [Refusal.SUSPENDED]
        assert two.fetch([first.key_id]).refusals == {first.key_id: Refusal.SUSPENDED}
        late = two.block(relay="charles")
        assert two.reserve()[0].units[0][0] == good
        assert late not in two.b.usable_blocks([late])
        for store, suspension in zip(two.stores, found, strict=True):
            ended = store.resume(suspension.suspension_id, WHO, "all well")
            assert ended.verdict is Verdict.RELEASED
            assert store.suspensions() == []
            with pytest.raises(UnknownSuspension):
                store.resume(suspension.suspension_id, WHO)
        assert [k.key for k in two.fetch([first.key_id])] == [first.key]
        assert two.a.deliver([pending.key_id])[0].key_id == pending.key_id

    def test_a_bad_verdict_wipes_and_meets_what_comes_late(self, two):
        begun = two.clock()
        two.block(relay="charles")
        (key,) = two.give()
        for store in two.stores:
            suspension = store.suspend(Selector("charles", since_ns=begun - SECOND), "why", WHO)
            store.revoke(suspension.suspension_id, WHO)
            assert store.keks() == {}
        assert two.b.key(key.key_id).state is KeyState.REVOKED
        assert isinstance(two.fetch([key.key_id]), FetchRefused)
        two.block(relay="charles", at=two.clock() - SECOND // 2)
        assert two.a.keks() == {}
        two.clock.pass_s(60)
        two.block(relay="charles")
        assert len(two.give()) == 1

    def test_overlapping_suspensions_hold_until_the_last_one_ends(self, two):
        two.block(relay="charles")
        now = two.clock()
        one = two.a.suspend(Selector("charles"), "one", WHO)
        other = two.a.suspend(Selector(since_ns=now - 9 * SECOND, until_ns=now), "other", WHO)
        two.a.resume(one.suspension_id, WHO)
        assert isinstance(two.reserve(), Shortage)
        two.a.resume(other.suspension_id, WHO)
        assert len(two.reserve()) == 1

    def test_a_peer_that_suspended_is_not_asked_again_and_again(self, two):
        two.block(relay="charles")
        two.b.suspend(Selector("charles"), "why", WHO)
        (reservation,) = two.reserve()
        assert two.b.adopt([reservation]) == [PeerAnswer.NOT_HERE]

    def test_nobody_means_everything(self):
        with pytest.raises(ValueError):
            Selector()
        with pytest.raises(ValueError):
            Selector(since_ns=2, until_ns=1)


class TestOwners:
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.uuids())
    def test_shares_are_kept_exactly_in_each_turn(self, shares, block):
        pairs = Pairs(KME_IDS, [Pair(f"p{i}", f"a{i}", f"b{i}", n) for i, n in enumerate(shares)])
        turn = 2 * sum(shares)
        found = Counter(pairs.owner(str(block), index) for index in range(7, 7 + turn))
        assert found == {(f"p{i}", side): n for i, n in enumerate(shares) for side in (0, 1)}

    def test_order_of_the_file_changes_nothing(self):
        given_ = list(PAIRS)
        other = Pairs(KME_IDS[::-1], given_[::-1], groups=[("dave", "carol", "bob", "alice")])
        assert other.digest == PAIRS.digest
        block = str(uuid.uuid4())
        assert [other.owner(block, i) for i in range(99)] == [
            PAIRS.owner(block, i) for i in range(99)
        ]

    @pytest.mark.parametrize(
        "pairs",
        [
            [],
            [Pair("p", "a", "b"), Pair("p", "a", "c")],
            [Pair("p", "a", "b"), Pair("q", "a", "b")],
            [Pair("p", "a", "b"), Pair("q", "b", "c")],
            [Pair("p", "a", "b", 0)],
        ],
    )
    def test_what_makes_no_pairs(self, pairs):
        with pytest.raises(ValueError):
            Pairs(KME_IDS, pairs)

    @given(st.binary(min_size=16, max_size=99), st.sampled_from([8, 64, 128]))
    def test_cut_and_join(self, data, unit_bits):
        units = list(cut(bytearray(data), len(data) * 8, unit_bits))
        whole = len(data) * 8 // unit_bits
        assert len(units) == whole
        size = whole * unit_bits - 8
        assert join(units, size) == data[: size // 8]
        assert not any(any(unit) for unit in units)


_GIVES_UNTIL_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_pairs import TwoStores
two = TwoStores(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    got = two.reserve()
    if not isinstance(got, list):
        break
    two.b.adopt(got)
    for key in two.a.deliver([r.key_id for r in got]):
        print(key.key_id, key.key.hex(), flush=True)
"""


def test_a_process_that_is_killed_gives_nothing_twice(tmp_path):
    """SIGKILL in the middle, on SQLite, again and again; what it gave is what the slave gets."""
    with TwoStores(tmp_path) as two:
        two.block(units=400)
        free = two.a.free_units("bank")
    given_ = {}
    for moment in (3, 8, 13):
        process = subprocess.Popen(
            [sys.executable, "-c", _GIVES_UNTIL_KILLED, tmp_path, os.path.dirname(__file__)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        lines = [process.stdout.readline() for _ in range(moment)]
        process.kill()
        lines += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        for key_id, key in (line.split() for line in lines if line.count(" ") == 1):
            assert key_id not in given_, "twice"
            given_[key_id] = key
    assert len(given_) >= 24
    two.open()
    with two:
        begun = two.a.begin_release([r.key_id for r in two.a.undelivered()])
        two.a.release(dict(zip([r.key_id for r in begun], two.b.withdraw(begun), strict=True)))
        for key_id, key in given_.items():
            (got,) = two.fetch([key_id])
            assert got.key.hex() == key
        # At most the one key whose delivery was committed and never printed is not free again.
        assert free - len(given_) - 3 <= two.a.free_units("bank") <= free - len(given_)


def test_unit_bits(tmp_path):
    from bellrelay.keys.key_store import StoreSettings

    assert UNIT_BITS % 8 == 0
    for bits in (0, 60, 63, 1 << 20):
        with pytest.raises(ValueError):
            StoreSettings(unit_bits=bits)
    assert keyring(tmp_path).kek_id.startswith("file:")
