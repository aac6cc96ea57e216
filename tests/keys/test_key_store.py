"""The key store on SQLite and on PostgreSQL: what becomes of a key, who gets it, and who not."""

import os
import sqlite3
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import text
from store_pairs import KME_IDS, PAIRS, RECORD, UNIT_BITS, TwoStores, keyring, request

from bellrelay.keys.audit_record import AuditError
from bellrelay.keys.cutting import key_id_of, unit_id
from bellrelay.keys.key_requests import (
    FetchRefused,
    FetchRequest,
    PeerAnswer,
    Refusal,
    Reservation,
    ReservationError,
    Shortage,
)
from bellrelay.keys.key_states import KeyState
from bellrelay.keys.key_store import KeyStore, StoreSettings
from bellrelay.keys.pairs import Pair, Pairs
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.keys.store_errors import StoreError
from bellrelay.service.private_file import UnsafeMode


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_server)])
def urls(request):
    if request.param == "sqlite":
        return None
    server = request.getfixturevalue("postgresql")
    return server.new_database(), server.new_database()


@pytest.fixture
def two(tmp_path, urls):
    with TwoStores(tmp_path, urls) as stores:
        yield stores


def only(keys):
    (key,) = keys
    return key


def refused(result):
    assert isinstance(result, FetchRefused)
    return set(result.refusals.values())


class TestWayOfAKey:
    @pytest.mark.parametrize("size", [8, 64, 72, 128, 1000])
    @pytest.mark.parametrize("side", [0, 1])
    def test_both_sides_get_the_same_bits_of_the_block(self, two, size, side):
        block = two.block(units=120, spare_bits=5)
        saes = ("alice", "bob")
        keys = two.give(2, size, side)
        for key in keys:
            assert len(key.key) * 8 == size
            info = two.stores[side].key(key.key_id)
            bits = b"".join(
                two.blocks[block][1][n * UNIT_BITS // 8 : (n + 1) * UNIT_BITS // 8]
                for _, n in info.units
            )
            assert key.key == bits[: size // 8]
        got = two.fetch(
            [key.key_id for key in keys], 1 - side, slave=saes[1 - side], master=saes[side]
        )
        assert [k.key for k in got] == [k.key for k in keys]
        assert [uuid.UUID(k.key_id) for k in got]
        for store in two.stores:
            for key in keys:
                assert store.key(key.key_id).state is KeyState.CONSUMED

    def test_a_key_of_one_unit_bears_its_name(self, two):
        block = two.block()
        key = only(two.give())
        ((of, number),) = two.a.key(key.key_id).units
        assert (of, key.key_id) == (block, unit_id((block, number)))

    def test_is_given_once(self, two):
        two.block()
        key = only(two.give())
        assert two.a.deliver([key.key_id]) == [Refusal.NOT_FOUND]
        assert two.a.deliver([key.key_id, key.key_id]) == [Refusal.NOT_FOUND] * 2
        assert only(two.fetch([key.key_id])).key == key.key
        assert refused(two.fetch([key.key_id])) == {Refusal.NOT_FOUND}

    def test_is_given_once_in_one_batch(self, two):
        two.block()
        (reservation,) = two.reserve()
        two.b.adopt([reservation])
        key, again = two.a.deliver([reservation.key_id] * 2)
        assert (key.key_id, again) == (reservation.key_id, Refusal.NOT_FOUND)
        asked = FetchRequest("bob", "alice", (key.key_id,))
        got, again = two.b.fetch([asked, asked])
        assert only(got).key == key.key
        assert refused(again) == {Refusal.NOT_FOUND}
        assert refused(two.fetch([key.key_id, key.key_id])) == {Refusal.NOT_FOUND}

    def test_all_or_nothing_within_a_request(self, two):
        two.block()
        keys = two.give(3)
        names = [key.key_id for key in keys]
        assert two.fetch([*names, str(uuid.uuid4())]).refusals.keys().isdisjoint(names)
        assert len(two.fetch(names[:1])) == 1
        assert set(two.fetch(names).refusals) == {names[0]}
        assert len(two.fetch(names[1:])) == 2

    def test_nobody_has_it_before_it_was_delivered(self, two):
        two.block()
        (reservation,) = two.reserve(slaves=("carol",))
        asked = {"side": 0, "slave": "carol"}
        assert refused(two.fetch([reservation.key_id], **asked)) == {Refusal.NOT_FOUND}
        two.b.adopt([reservation])
        (key,) = two.a.deliver([reservation.key_id])
        assert only(two.fetch([key.key_id], **asked)).key == key.key

    def test_further_slaves_at_both_kmes_get_it_once_each(self, two):
        two.block()
        key = only(two.give(slaves=("carol", "dave")))
        assert two.a.key(key.key_id).state is KeyState.DELIVERED
        for side, slave in ((1, "bob"), (0, "carol"), (1, "dave")):
            got = two.fetch([key.key_id], side, slave)
            assert only(got).key == key.key
            assert refused(two.fetch([key.key_id], side, slave)) == {Refusal.NOT_FOUND}
        for store, taken in ((two.a, {"alice", "carol"}), (two.b, {"bob", "dave"})):
            info = store.key(key.key_id)
            assert (info.state, set(info.taken)) == (KeyState.CONSUMED, taken)

    def test_only_who_was_named(self, two):
        two.block()
        key = only(two.give())
        assert refused(two.fetch([key.key_id], slave="dave")) == {Refusal.NOT_NAMED}
        assert refused(two.fetch([key.key_id], slave="mallory")) == {Refusal.NOT_NAMED}
        assert refused(two.fetch([key.key_id], slave="alice", master="bob")) == {Refusal.NOT_FOUND}
        assert refused(two.fetch([key.key_id], master="carol")) == {Refusal.NOT_FOUND}
        assert refused(two.fetch([str(uuid.uuid4())])) == {Refusal.NOT_FOUND}
        assert only(two.fetch([key.key_id])).key == key.key

    def test_nothing_is_left_of_a_key_that_everybody_has(self, two):
        two.block()
        key = only(two.give())
        held = _sealed(two.b)
        two.fetch([key.key_id])
        assert _sealed(two.b) == held - 1
        assert two.a.counts() == two.b.counts()

    def test_a_block_of_which_the_peer_has_not_spoken_is_not_given_out(self, two):
        name = str(uuid.uuid4())
        facts = Provenance(name, "charles", 1, 0, 0, two.clock(), 20 * UNIT_BITS, RECORD)
        assert two.a.add_block(FinishedKey(facts, bytes(20 * UNIT_BITS)))
        assert two.a.blocks_not_at_peer() == [name]
        assert isinstance(two.reserve(), Shortage)
        assert two.a.counts()["bank", 0].waiting > 0
        two.share()
        assert isinstance(two.reserve(), Shortage)
        assert two.b.add_block(FinishedKey(facts, bytes(20 * UNIT_BITS)))
        two.share()
        assert len(two.reserve()) == 1

    def test_oldest_first_or_newest_first(self, tmp_path, urls):
        for newest in (False, True):
            folder = tmp_path / str(newest)
            folder.mkdir()
            if urls is not None and newest:
                return  # databases are used up
            with TwoStores(folder, urls, newest_first=newest) as two:
                old, new = two.block(), two.block()
                (reservation,) = two.reserve()
                assert reservation.units[0][0] == (new if newest else old)

    def test_only_key_of_some_age(self, two):
        two.block()
        two.clock.pass_s(100)
        new = two.block()
        (reservation,) = two.reserve(max_age_s=50)
        assert reservation.units[0][0] == new
        assert isinstance(two.reserve(number=100, max_age_s=50), Shortage)


class TestRequests:
    def test_each_request_gets_all_or_a_shortage(self, two):
        two.block(units=12)
        free = two.a.free_units("bank")
        answers = two.a.reserve([request(1), request(free), request(free - 1)])
        assert len(answers[0]) == 1
        assert answers[1] == Shortage("bank", free - 1)
        assert len(answers[2]) == free - 1
        assert two.a.free_units("bank") == 0

    def test_a_pair_never_draws_on_anothers_units(self, two):
        two.block(units=60)
        before = two.a.free_units("clinic")
        assert before == 10
        while not isinstance(two.reserve(), Shortage):
            pass
        assert two.a.free_units("clinic") == before
        assert two.a.free_units("bank") == 0
        assert len(two.reserve(number=before, pair="clinic")) == before

    def test_two_kmes_never_give_out_the_same_unit(self, two):
        two.block(units=60)
        taken = []
        for side in (0, 1):
            for pair in ("bank", "clinic"):
                while not isinstance(got := two.reserve(side=side, pair=pair), Shortage):
                    taken += [unit for r in got for unit in r.units]
        assert len(taken) == len(set(taken)) == 60

    def test_what_no_master_may_ask_for(self, two):
        two.block()
        for change in (
            {"pair": "clinic"},
            {"pair": "nobody"},
            {"master": "bob"},
            {"slaves": ("dave",)},
            {"slaves": ("bob", "bob")},
            {"slaves": ("bob", "mallory")},
            {"slaves": ("bob", "alice")},
            {"count": 0},
            {"size_bits": 0},
            {"size_bits": 12},
        ):
            with pytest.raises(ValueError):
                two.a.reserve([replace(request(), **change)])
        assert two.a.counts()["bank", 0].reserved == 0


class TestPeer:
    def test_adopting_again_is_the_same(self, two):
        two.block()
        (reservation,) = two.reserve()
        for _ in range(3):
            assert two.b.adopt([reservation]) == [PeerAnswer.ADOPTED]
        two.a.deliver([reservation.key_id])
        two.fetch([reservation.key_id])
        assert two.b.adopt([reservation]) == [PeerAnswer.ADOPTED]
        assert refused(two.fetch([reservation.key_id])) == {Refusal.NOT_FOUND}

    def test_back_again(self, two):
        two.block()
        free = two.a.free_units("bank")
        first = two.reserve(3)
        two.b.adopt(first)
        assert sorted(r.key_id for r in two.a.undelivered()) == sorted(r.key_id for r in first)
        begun = two.a.begin_release([r.key_id for r in first])
        assert set(begun) == set(first)
        assert two.a.deliver([r.key_id for r in first]) == [Refusal.NOT_FOUND] * 3
        for _ in range(2):
            assert two.b.withdraw(begun) == [PeerAnswer.RELEASED] * 3
        outcome = two.a.release({r.key_id: PeerAnswer.RELEASED for r in begun})
        assert set(outcome.values()) == {None}
        assert two.a.release({r.key_id: PeerAnswer.RELEASED for r in begun}) == {}
        assert two.a.free_units("bank") == free
        assert two.a.undelivered() == []
        assert two.a.counts() == two.b.counts()
        # A word of before that comes late changes nothing.
        assert two.b.adopt(begun) == [PeerAnswer.GONE] * 3
        second = two.reserve(3)
        assert [r.key_id for r in second] == [r.key_id for r in first]
        assert two.b.adopt(second) == [PeerAnswer.ADOPTED] * 3
        assert two.b.withdraw(first) == [PeerAnswer.GONE] * 3
        assert len(two.a.deliver([r.key_id for r in second])) == 3

    def test_a_withdrawal_that_overtakes_its_reservation(self, two):
        two.block()
        (reservation,) = two.reserve()
        two.a.begin_release([reservation.key_id])
        assert two.b.withdraw([reservation]) == [PeerAnswer.RELEASED]
        assert two.b.adopt([reservation]) == [PeerAnswer.GONE]

    def test_no_old_word_is_believed_of_units_that_are_free_again(self, two):
        two.block()
        words = []
        for _ in range(2):
            (reservation,) = two.reserve()
            words.append(reservation)
            two.a.begin_release([reservation.key_id])
            assert two.b.withdraw([reservation]) == [PeerAnswer.RELEASED]
            two.a.release({reservation.key_id: PeerAnswer.RELEASED})
        assert words[0].serial < words[1].serial
        assert words[0].units == words[1].units
        assert two.b.adopt(words) == [PeerAnswer.GONE] * 2

    def test_delivered_keys_are_not_released(self, two):
        two.block()
        key = only(two.give())
        assert two.a.begin_release([key.key_id]) == []
        assert two.a.release({key.key_id: PeerAnswer.RELEASED}) == {}
        assert only(two.fetch([key.key_id])).key == key.key

    def test_what_a_slave_has_is_consumed_on_both_sides(self, two):
        two.block()
        (reservation,) = two.reserve()
        two.b.adopt([reservation])
        assert len(two.fetch([reservation.key_id])) == 1
        begun = two.a.begin_release([reservation.key_id])
        assert two.b.withdraw(begun) == [PeerAnswer.CONSUMED]
        assert two.a.release({reservation.key_id: PeerAnswer.CONSUMED}) == {
            reservation.key_id: KeyState.CONSUMED
        }
        free = two.a.free_units("bank")
        assert len(two.reserve(number=free)) == free

    def test_units_that_another_reservation_holds_stay_with_that(self, two):
        two.block()
        (first,) = two.reserve(size=2 * UNIT_BITS)
        two.b.adopt([first])
        two.a.begin_release([first.key_id])
        # The peer never hears of the withdrawal; its owner was told otherwise.
        two.a.release({first.key_id: PeerAnswer.RELEASED})
        second = two.reserve(2)
        assert {u for r in second for u in r.units} == set(first.units)
        assert two.b.adopt(second) == [PeerAnswer.GONE] * 2
        assert two.b.withdraw(second) == [PeerAnswer.GONE] * 2

    def test_a_store_from_a_backup_gives_nothing_again(self, tmp_path):
        with TwoStores(tmp_path) as two:
            two.block(units=60)
            two.close()
            backup = (tmp_path / "kme-a.sqlite").read_bytes()
            two.open()
            keys = two.give(3)
            two.fetch([keys[0].key_id])
            pending = two.reserve()
            two.b.adopt(pending)
            two.close()
            (tmp_path / "kme-a.sqlite").write_bytes(backup)
            two.open()
            again = two.reserve(5)
            assert [r.key_id for r in again][:4] == [k.key_id for k in keys] + [pending[0].key_id]
            answers = two.b.adopt(again)
            assert answers == [PeerAnswer.GONE] * 4 + [PeerAnswer.ADOPTED]
            # As the KME does it: the request fails, and what the peer calls gone is given up.
            begun = two.a.begin_release([r.key_id for r in again])
            two.a.release({r.key_id: a for r, a in zip(begun, two.b.withdraw(begun), strict=True)})
            (key,) = two.give()
            assert key.key_id == again[4].key_id
            got = two.fetch([k.key_id for k in keys[1:]])
            assert [k.key for k in got] == [k.key for k in keys[1:]]

    def test_a_block_that_the_peer_lacks(self, two):
        two.block()
        name = str(uuid.uuid4())
        facts = Provenance(name, "charles", 1, 0, 0, 1, 20 * UNIT_BITS, RECORD)
        two.a.add_block(FinishedKey(facts, bytes(20 * UNIT_BITS)))
        two.a.peer_has([name])
        (reservation,) = two.reserve()
        assert reservation.units[0][0] == name
        assert two.b.adopt([reservation]) == [PeerAnswer.NOT_HERE]
        begun = two.a.begin_release([reservation.key_id])
        assert two.b.withdraw(begun) == [PeerAnswer.NOT_HERE]
        two.a.release({reservation.key_id: PeerAnswer.NOT_HERE})
        assert two.reserve()[0].units[0][0] != name
        assert two.a.blocks_not_at_peer() == [name]

    def test_units_that_are_gone_at_the_peer_are_given_up(self, two):
        two.block()
        (reservation,) = two.reserve()
        with two.b._database._engine.begin() as connection:
            connection.execute(text("UPDATE unit SET state = 4, sealed = NULL, kek_id = NULL"))
        assert two.b.adopt([reservation]) == [PeerAnswer.GONE]
        begun = two.a.begin_release([reservation.key_id])
        assert two.b.withdraw(begun) == [PeerAnswer.GONE]
        two.a.release({reservation.key_id: PeerAnswer.GONE})
        assert two.a.key(reservation.key_id).state is KeyState.REVOKED
        assert two.reserve()[0].units != reservation.units

    def test_a_peer_that_breaks_the_rules_gets_nothing(self, two):
        """It is authenticated, and still may not lend a tenant's key to another."""
        two.block()
        (good,) = two.reserve(size=2 * UNIT_BITS)
        (clinic,) = two.reserve(pair="clinic")
        (ours,) = two.reserve(side=1)
        other = two.reserve()[0].units
        bad = [
            replace(good, pair="clinic"),
            replace(good, pair="nobody"),
            replace(good, master="bob"),
            replace(good, master="carol"),
            replace(good, slaves=("dave",)),
            replace(good, slaves=("bob", "mallory")),
            replace(good, slaves=("bob", "bob")),
            replace(good, slaves=()),
            replace(good, key_id=str(uuid.uuid4())),
            replace(good, key_id="x"),
            replace(good, size_bits=UNIT_BITS),
            replace(good, size_bits=2 * UNIT_BITS - 1),
            replace(good, side=1),
            replace(good, units=()),
            replace(good, units=(good.units[0], good.units[0])),
            replace(good, units=(good.units[0], (good.units[1][0], 4000))),
            replace(good, units=(("x", 0), ("x", 1))),
            replace(ours, side=0, master="alice", slaves=("bob",)),
            replace(
                good,
                units=tuple(clinic.units) + other,
                key_id=key_id_of([*clinic.units], 2 * UNIT_BITS, UNIT_BITS),
            ),
        ]
        before = two.b.counts()
        assert two.b.adopt(bad) == [PeerAnswer.GONE] * len(bad)
        assert two.b.counts() == before
        assert two.b.adopt([good]) == [PeerAnswer.ADOPTED]

    def test_one_unit_in_two_reservations_of_one_message(self, two):
        two.block()
        (good,) = two.reserve(size=2 * UNIT_BITS)
        one = replace(
            good,
            size_bits=UNIT_BITS,
            units=good.units[1:],
            key_id=key_id_of(good.units[1:], UNIT_BITS, UNIT_BITS),
        )
        assert two.b.adopt([good, one]) == [PeerAnswer.ADOPTED, PeerAnswer.GONE]

    def test_over_the_wire(self, two):
        two.block()
        (good,) = two.reserve(size=100 * 8)
        assert Reservation.from_json(good.as_json()) == good
        for wrong in (
            None,
            [],
            {},
            {**good.as_json(), "units": [["x"]]},
            {**good.as_json(), "units": 5},
            {**good.as_json(), "size_bits": True},
            {**good.as_json(), "size_bits": -8},
            {**good.as_json(), "serial": 1 << 70},
            {**good.as_json(), "slaves": [""]},
        ):
            with pytest.raises(ReservationError):
                Reservation.from_json(wrong)


class TestBlocks:
    def test_the_same_block_again_changes_nothing(self, two):
        name = two.block()
        facts, data = two.blocks[name]
        key = only(two.give())
        packed = bytearray(data)
        assert not two.a.add_block(FinishedKey(facts, packed))
        assert not any(packed)
        assert two.a.key(key.key_id).state is KeyState.CONSUMED

    def test_a_block_shorter_than_it_says(self, two):
        facts = Provenance(str(uuid.uuid4()), "charles", 1, 0, 0, 1, 1000, RECORD)
        with pytest.raises(ValueError):
            two.a.add_block(FinishedKey(facts, bytes(124)))
        assert two.a.add_block(FinishedKey(facts, bytes(125)))

    def test_a_block_too_short_for_a_unit(self, two):
        facts = Provenance(str(uuid.uuid4()), "charles", 1, 0, 0, 1, UNIT_BITS - 1, RECORD)
        assert two.a.add_block(FinishedKey(facts, bytes(UNIT_BITS // 8)))
        assert two.a.known_blocks([facts.block_id]) == {facts.block_id}

    def test_plain_bytes_are_wiped_and_nowhere_on_disk(self, two):
        name = two.block()
        data = two.blocks[name][1]
        key = only(two.give(size=256))
        two.close()
        if two.a._database.sqlite:
            whole = b"".join(path.read_bytes() for path in two.folder.glob("*.sqlite*"))
            assert name.encode() in whole
            pieces = {data[i : i + 8] for i in range(0, len(data) - 8, 8)}
            assert not [piece for piece in pieces if piece in whole]
        key.wipe()
        assert not any(key.key)
        assert key.key.hex() not in repr(key)

    def test_provenance_of_a_key(self, two):
        blocks = [two.block(units=12), two.block(units=12)]
        key = only(two.give(size=two.a.free_units("bank") * UNIT_BITS))
        found = two.a.provenance(key.key_id)
        assert {facts.block_id for facts in found} == set(blocks)
        for facts in found:
            assert facts == two.blocks[facts.block_id][0]
            assert facts.epsilon == 2e-10
            assert facts.phase_error_upper == 0.03
            assert facts.as_json()["relay"] == "charles"
        assert two.a.provenance(str(uuid.uuid4())) == []
        assert [facts.block_id for facts in two.a.blocks()] == sorted(blocks)
        assert [facts.block_id for facts in two.a.blocks(after=min(blocks))] == [max(blocks)]

    def test_damage_costs_the_key_that_it_hits(self, two):
        two.block()
        good, bad = two.reserve(2)
        two.b.adopt([good, bad])
        for store in two.stores:
            with store._database._engine.begin() as connection:
                sealed = connection.execute(
                    text("SELECT sealed FROM unit WHERE key_id = :k"), {"k": bad.key_id}
                ).scalar_one()
                broken = bytes(sealed[:-1]) + bytes([sealed[-1] ^ 1])
                connection.execute(
                    text("UPDATE unit SET sealed = :s WHERE key_id = :k"),
                    {"s": broken, "k": bad.key_id},
                )
        key, refusal = two.a.deliver([good.key_id, bad.key_id])
        assert (key.key_id, refusal) == (good.key_id, Refusal.DAMAGED)
        assert refused(two.fetch([good.key_id, bad.key_id])) == {Refusal.DAMAGED}
        assert two.b.key(bad.key_id).state is KeyState.REVOKED
        assert only(two.fetch([good.key_id])).key == key.key

    def test_a_sealed_unit_moved_to_another_place_does_not_open(self, two):
        two.block()
        one, other = two.reserve(2)
        with two.a._database._engine.begin() as connection:
            blobs = dict(
                connection.execute(
                    text("SELECT key_id, sealed FROM unit WHERE key_id IS NOT NULL")
                ).fetchall()
            )
            connection.execute(
                text("UPDATE unit SET sealed = :s WHERE key_id = :k"),
                {"s": blobs[one.key_id], "k": other.key_id},
            )
        assert two.a.deliver([other.key_id]) == [Refusal.DAMAGED]


class TestOpening:
    def test_a_store_is_one_kmes(self, two, urls):
        url = two.urls[0]
        two.close()
        ring = keyring(two.folder, "kme-a")
        with pytest.raises(StoreError, match="kme_id"):
            KeyStore(url, "kme-b", PAIRS, ring, two.records[0], two.settings)
        with pytest.raises(StoreError, match="unit_bits"):
            KeyStore(url, "kme-a", PAIRS, ring, two.records[0], StoreSettings(unit_bits=128))
        with pytest.raises(ValueError):
            KeyStore(url, "kme-c", PAIRS, ring, two.records[0], two.settings)

    def test_a_kek_that_is_not_there(self, two):
        two.block()
        two.close()
        with pytest.raises(StoreError, match="not configured"):
            two.open(keyrings=(keyring(two.folder, "new"), None))

    @pytest.mark.parametrize(
        "url", ["mysql://x/y", "sqlite://", "://", "postgresql:/x y", "postgres:x"]
    )
    def test_what_is_no_database(self, tmp_path, url, monkeypatch):
        monkeypatch.chdir(tmp_path)
        ring = keyring(tmp_path)
        with pytest.raises(StoreError):
            KeyStore(url, "kme-a", PAIRS, ring, _Nobody(), StoreSettings())
        assert [path.name for path in tmp_path.iterdir()] == ["kek.kek"]

    def test_other_pairs_give_free_units_to_other_owners(self, two):
        two.block(units=60)
        key = only(two.give())
        (pending,) = two.reserve()
        two.b.adopt([pending])
        two.close()
        fewer = Pairs(KME_IDS, [Pair("bank", "alice", "bob")])
        two.open(fewer)
        for store in two.stores:
            counts = store.counts()
            assert counts["bank", 0].free + counts["bank", 1].free == 58
            assert ("clinic", 0) not in counts
        # What was under way goes on, and what goes back finds its owner of today.
        assert only(two.fetch([key.key_id])).key == key.key
        begun = two.a.begin_release([pending.key_id])
        two.a.release(dict(zip([pending.key_id], two.b.withdraw(begun), strict=True)))
        assert two.a.counts() == two.b.counts()
        assert sum(c.free for c in two.a.counts().values()) == 59
        for side in (0, 1):
            free = two.stores[side].free_units("bank")
            keys = two.give(free, side=side)
            saes = ("alice", "bob")
            got = two.fetch(
                [k.key_id for k in keys], 1 - side, slave=saes[1 - side], master=saes[side]
            )
            assert [k.key for k in got] == [k.key for k in keys]


class TestSqliteFile:
    def test_is_private_and_overwrites_what_it_forgets(self, tmp_path):
        with TwoStores(tmp_path) as two:
            two.block()
            for path in tmp_path.glob("kme-a.sqlite*"):
                assert path.stat().st_mode & 0o777 == 0o600
            with two.a._database._engine.connect() as connection:
                pragmas = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
                }
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
        }

    def test_one_that_others_can_read_is_refused(self, tmp_path):
        with TwoStores(tmp_path) as two:
            two.block()
        (tmp_path / "kme-a.sqlite").chmod(0o640)
        with pytest.raises((StoreError, UnsafeMode), match="0640"):
            two.open()

    def test_what_is_no_database_file(self, tmp_path):
        path = tmp_path / "kme-a.sqlite"
        path.touch(mode=0o600)
        path.write_bytes(os.urandom(4096))
        with pytest.raises(StoreError):
            KeyStore(str(path), "kme-a", PAIRS, keyring(tmp_path), _Nobody())

    def test_somebody_else_is_writing(self, tmp_path, monkeypatch):
        monkeypatch.setattr("bellrelay.keys.database._BUSY_S", 0.1)
        with TwoStores(tmp_path) as two:
            two.block()
            other = sqlite3.connect(tmp_path / "kme-a.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                two.reserve()
            other.execute("ROLLBACK")
            other.close()
            assert len(two.reserve()) == 1


class TestAudit:
    def test_every_step_is_on_record_without_any_key(self, two):
        block = two.block()
        key = only(two.give())
        two.fetch([key.key_id])
        ours, theirs = two.records
        assert [e.object_ for e in ours.of("block-added")] == [f"block:{block}"]
        assert [e.actor for e in ours.of("key-reserved")] == ["sae:alice"]
        assert [e.actor for e in ours.of("key-delivered")] == ["sae:alice"]
        assert [e.actor for e in theirs.of("key-adopted")] == ["kme:kme-a"]
        assert [e.actor for e in theirs.of("key-delivered")] == ["sae:bob"]
        text_ = repr((ours.events, theirs.events))
        assert key.key.hex() not in text_
        assert repr(bytes(key.key)) not in text_

    def test_where_it_fails_the_operation_fails(self, two):
        block = two.block()
        reservations = two.reserve(3)
        two.b.adopt(reservations)
        names = [r.key_id for r in reservations]
        before = two.a.counts(), two.b.counts()
        for records in two.records:
            records.fault = AuditError("full")
        facts, data = two.blocks[block]
        new = replace(facts, block_id=str(uuid.uuid4()))
        for operation in (
            lambda: two.a.add_block(FinishedKey(new, bytearray(data))),
            lambda: two.reserve(),
            lambda: two.a.deliver(names),
            lambda: two.fetch(names),
            lambda: two.b.adopt(two.a.undelivered()[:1]),
            lambda: two.a.revoke_keys(names, "operator:x"),
        ):
            if operation is not None:
                try:
                    operation()
                except AuditError:
                    continue
                # Adopting again what was adopted writes nothing.
        for records in two.records:
            records.fault = None
        assert (two.a.counts(), two.b.counts()) == before
        assert all(two.a.key(name).state is KeyState.RESERVED for name in names)
        keys = two.a.deliver(names)
        assert [k.key for k in two.fetch(names)] == [k.key for k in keys]


class _Nobody:
    def record(self, *events):
        pass


def _sealed(store):
    with store._database._engine.connect() as connection:
        return connection.execute(
            text("SELECT count(*) FROM unit WHERE sealed IS NOT NULL")
        ).scalar_one()
