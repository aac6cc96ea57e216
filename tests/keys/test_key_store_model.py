"""Two stores, any order of steps, messages lost, late and doubled: no unit twice, none lost."""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import text
from store_pairs import PAIRS, SECOND, UNIT_BITS, TwoStores, request

from bellrelay.keys.incident import Selector
from bellrelay.keys.kek_file import FileKek, write_kek_file
from bellrelay.keys.key_requests import DeliveredKey, FetchRequest, PeerAnswer, Shortage
from bellrelay.keys.key_states import KeyState, UnitState
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.keys.sealing import Keyring

SAES = {"alice": 0, "bob": 1, "carol": 0, "dave": 1}
LIVING = (KeyState.RESERVED, KeyState.DELIVERED)
sides = st.integers(0, 1)
picks = st.integers(0, 1 << 16)


class StoresMachine(RuleBasedStateMachine):
    """Two stores and what may happen to them.

    No rule has a precondition: names of keys are random, and no draw may hang on them.
    """

    urls = None

    @initialize(newest=st.booleans())
    def begin(self, newest):
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        urls = self.urls and self.urls()
        self.two = TwoStores(self.folder, urls, max_age_s=1000, margin_s=10, newest_first=newest)
        self.rings = [[FileKek(self.folder / f"{kme}.kek")] for kme in ("kme-a", "kme-b")]
        self.said = [[], []]  # reservations of each side, for the network to repeat
        self.adopted = [[], []]  # of each side, that the peer has said to have adopted
        self.closing = [[], []]  # withdrawn at the peer or not, to be released
        self.reservation = {}
        self.got = {}  # (key_id, SAE) to bytes
        self.handed = {}  # unit to the key that somebody has
        self.dead = set()  # keys that may rightly be gone: revoked or expired
        self.suspended = [[], []]
        for relay in ("charles", "diana"):
            self.block(24, relay, 3, told=True)

    def teardown(self):
        if hasattr(self, "two"):
            self.everything_ends_well()
            self.two.close()
            shutil.rmtree(self.folder)

    def pick(self, values, pick):
        return values[pick % len(values)]

    # ------------------------------------------------------------------------------ blocks

    @rule(
        units=st.integers(0, 24),
        relay=st.sampled_from(["charles", "diana"]),
        who=st.sampled_from([1, 2, 3, 3]),
        told=st.booleans(),
    )
    def block(self, units, relay, who, told):
        name, made = str(uuid.uuid4()), self.two.clock()
        data = os.urandom(units * UNIT_BITS // 8)
        facts = Provenance(name, relay, 1, 0, made - SECOND, made, len(data) * 8, {})
        self.two.blocks[name] = (facts, data)
        for side in (0, 1):
            if who & 1 << side:
                assert self.two.stores[side].add_block(FinishedKey(facts, bytearray(data)))
        if told:
            self.two.share()

    def late_block(self, side, pick):
        facts, data = self.pick(list(self.two.blocks.values()), pick)
        self.two.stores[side].add_block(FinishedKey(facts, bytearray(data)))

    def tell(self, side, _pick):
        here, there = self.two.stores[side], self.two.stores[1 - side]
        here.peer_has(there.usable_blocks(here.blocks_not_at_peer()))

    # ------------------------------------------------------------------------------ handing out

    @rule(
        side=sides,
        pair=st.sampled_from(["bank", "clinic"]),
        number=st.integers(1, 3),
        size=st.sampled_from([8, UNIT_BITS, UNIT_BITS, 72, 3 * UNIT_BITS]),
        more=st.booleans(),
    )
    def reserve(self, side, pair, number, size, more):
        slaves = (("dave", "bob")[pair == "clinic"],) if more and side == 0 else ()
        (got,) = self.two.stores[side].reserve([request(number, size, side, pair, slaves)])
        if isinstance(got, Shortage):
            assert got.available < number * -(-size // UNIT_BITS)
            return
        for reservation in got:
            self.said[side].append(reservation)
            self.reservation[reservation.key_id] = reservation

    @rule(side=sides, pick=picks, in_time=st.booleans())
    def adopt(self, side, pick, in_time):
        """The message of a reservation arrives: in time, or any time later, or again."""
        if not self.said[side]:
            return
        reservation = self.said[side][-1] if in_time else self.pick(self.said[side], pick)
        (answer,) = self.two.stores[1 - side].adopt([reservation])
        if answer is PeerAnswer.ADOPTED:
            self.adopted[side].append(reservation)

    @rule(side=sides, pick=picks)
    def deliver(self, side, pick):
        if not self.adopted[side]:
            return
        reservation = self.pick(self.adopted[side], pick)
        if self.reservation[reservation.key_id] != reservation:
            return  # an answer to a question that its asker has given up
        (result,) = self.two.stores[side].deliver([reservation.key_id])
        if isinstance(result, DeliveredKey):
            self.hand(reservation, reservation.master, result)

    @rule(
        side=sides,
        pair=st.sampled_from(["bank", "clinic"]),
        size=st.sampled_from([UNIT_BITS, 3 * UNIT_BITS]),
        steps=st.integers(1, 4),
        pick=picks,
    )
    def some_of_the_way(self, side, pair, size, steps, pick):
        """The steps of a key in their order, as far as they go before somebody dies."""
        before = len(self.said[side])
        self.reserve(side, pair, 1, size, more=False)
        if steps < 2 or len(self.said[side]) == before:
            return
        before = len(self.adopted[side])
        self.adopt(side, 0, in_time=True)
        if steps < 3 or len(self.adopted[side]) == before:
            return
        reservation = self.adopted[side][-1]
        if pick % 4:
            (result,) = self.two.stores[side].deliver([reservation.key_id])
            if isinstance(result, DeliveredKey):
                self.hand(reservation, reservation.master, result)
        if steps == 4:
            self.ask(1 - side, reservation, reservation.slaves[0])

    @rule(side=sides, sae=st.sampled_from(list(SAES)), pick=picks)
    def fetch(self, side, sae, pick):
        if not self.reservation:
            return
        self.ask(side, self.pick(list(self.reservation.values()), pick), sae)

    def ask(self, side, reservation, sae):
        asked = FetchRequest(sae, reservation.master, (reservation.key_id,))
        (result,) = self.two.stores[side].fetch([asked])
        if isinstance(result, list):
            assert sae in reservation.slaves
            assert SAES[sae] == side
            self.hand(reservation, sae, result[0])

    def hand(self, reservation, sae, key):
        at = (key.key_id, sae)
        assert at not in self.got, "the same key twice"
        self.got[at] = bytes(key.key)
        size = UNIT_BITS // 8
        truth = b"".join(
            self.two.blocks[block][1][n * size : (n + 1) * size] for block, n in reservation.units
        )
        assert key.key == truth[: reservation.size_bits // 8]
        for unit in reservation.units:
            assert self.handed.setdefault(unit, key.key_id) == key.key_id, "a unit in two keys"

    # ------------------------------------------------------------------------------ back again

    @rule(side=sides, older_s=st.sampled_from([0, 5]))
    def begin_release(self, side, older_s):
        store = self.two.stores[side]
        names = [r.key_id for r in store.undelivered(older_s)][:2]
        self.closing[side] += store.begin_release(names)

    @rule(side=sides, pick=picks, answered=st.booleans())
    def withdraw(self, side, pick, answered):
        """The withdrawal arrives; its answer may be lost."""
        if not self.closing[side]:
            return
        reservation = self.pick(self.closing[side], pick)
        (answer,) = self.two.stores[1 - side].withdraw([reservation])
        if not answered:
            return
        if self.reservation[reservation.key_id] != reservation:
            return
        outcome = self.two.stores[side].release({reservation.key_id: answer})
        if outcome.get(reservation.key_id) is KeyState.REVOKED:
            self.dead.add(reservation.key_id)

    # ------------------------------------------------------------------------------ what happens

    @rule(
        what=st.sampled_from(
            [
                "late_block",
                "tell",
                "expire",
                "restart",
                "another_kek",
                "reseal",
                "suspend",
                "resume",
                "revoke",
            ]
        ),
        side=sides,
        pick=picks,
    )
    def something_happens(self, what, side, pick):
        getattr(self, what)(side, pick)

    def expire(self, side, pick):
        self.two.clock.pass_s(pick % 400)
        store = self.two.stores[side]
        self.mourn(store, store.expire)

    def restart(self, _side, _pick):
        self.two.close()
        self.two.open(PAIRS, tuple(Keyring(r[-1], r[:-1]) for r in self.rings))

    def another_kek(self, side, pick):
        path = self.folder / f"{uuid.uuid4()}.kek"
        write_kek_file(path)
        self.rings[side].append(FileKek(path))
        self.restart(side, pick)

    def reseal(self, side, pick):
        store = self.two.stores[side]
        if store.reseal(pick % 20 + 1) == 0:
            assert set(store.keks()) <= {store.kek_id}

    def suspend(self, side, pick):
        now = self.two.clock()
        relay = ("charles", "diana", None)[pick % 3]
        selector = Selector(relay, now - 200 * SECOND, now)
        found = self.two.stores[side].suspend(selector, "why", "operator:x")
        self.suspended[side].append(found.suspension_id)

    def resume(self, side, _pick):
        if self.suspended[side]:
            self.two.stores[side].resume(self.suspended[side].pop(), "operator:x")

    def revoke(self, side, _pick):
        if self.suspended[side]:
            store, name = self.two.stores[side], self.suspended[side].pop()
            self.mourn(store, lambda: store.revoke(name, "operator:x"))

    def mourn(self, store, deed):
        """What lived before and does not afterwards may rightly be gone."""
        living = {key.key_id for key in store.keys(states=LIVING)}
        deed()
        self.dead |= living - {key.key_id for key in store.keys(states=LIVING)}

    # ------------------------------------------------------------------------------ what holds

    @invariant()
    def every_unit_is_in_one_state(self):
        if not hasattr(self, "two"):
            return
        for store in self.two.stores:
            rows = _units(store)
            for row in rows.values():
                state = UnitState(row.state)
                assert (row.sealed is None) == state.final == (row.kek_id is None)
                if state is UnitState.FREE:
                    assert row.key_id is None
                if state is UnitState.RESERVED:
                    assert row.key_state in LIVING
                if row.key_state in LIVING:
                    assert state is UnitState.RESERVED

    @invariant()
    def what_is_free_here_was_handed_out_nowhere(self):
        if not hasattr(self, "two"):
            return
        for store in self.two.stores:
            for unit, row in _units(store).items():
                if row.state == UnitState.FREE and row.side == store.side:
                    assert unit not in self.handed

    @invariant()
    def what_a_master_has_its_slaves_can_have(self):
        if not hasattr(self, "two"):
            return
        for key_id, sae in self.got:
            reservation = self.reservation[key_id]
            if sae != reservation.master or key_id in self.dead:
                continue
            for slave in reservation.slaves:
                if (key_id, slave) not in self.got:
                    info = self.two.stores[SAES[slave]].key(key_id)
                    assert info is not None, "lost"
                    assert info.state in LIVING

    def everything_ends_well(self):
        """Whatever was left undone: in the end each unit of a side is free at both, or used up."""
        for side in (0, 1):
            here, there = self.two.stores[side], self.two.stores[1 - side]
            begun = here.begin_release([r.key_id for r in here.undelivered()])
            answers = there.withdraw(begun)
            here.release({r.key_id: a for r, a in zip(begun, answers, strict=True)})
            assert here.undelivered() == []
        a, b = (_units(store) for store in self.two.stores)
        for unit in a.keys() & b.keys():
            owner, peer = (a, b) if a[unit].side == 0 else (b, a)
            owned, other = UnitState(owner[unit].state), UnitState(peer[unit].state)
            if owned is UnitState.FREE:
                # At most an adoption that its owner has given up, which nobody has.
                assert other in (
                    UnitState.FREE,
                    UnitState.RESERVED,
                    UnitState.EXPIRED,
                    UnitState.REVOKED,
                )
        for key_id, sae in list(self.got):
            for slave in self.reservation[key_id].slaves:
                if (key_id, slave) in self.got:
                    assert self.got[key_id, slave] == self.got[key_id, sae]
        self.what_a_master_has_its_slaves_can_have()


def _units(store):
    with store._database._engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT unit.*, key.state AS key_state FROM unit"
                " LEFT JOIN key ON key.key_id = unit.key_id"
            )
        )
        return {(row.block_id, row.number): row for row in rows}


class TestOnSqlite(StoresMachine.TestCase):
    settings = settings(max_examples=25, stateful_step_count=50)


@pytest.mark.soak
class TestOnSqliteAtLength(StoresMachine.TestCase):
    settings = settings(max_examples=600, stateful_step_count=100)


@pytest.mark.needs_server
@pytest.mark.usefixtures("on_postgresql")
class TestOnPostgresql(StoresMachine.TestCase):
    settings = settings(max_examples=4, stateful_step_count=50)

    @pytest.fixture
    def on_postgresql(self, postgresql, monkeypatch):
        monkeypatch.setattr(
            StoresMachine,
            "urls",
            lambda _self: (postgresql.new_database(), postgresql.new_database()),
        )
