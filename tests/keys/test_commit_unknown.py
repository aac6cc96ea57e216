"""PostgreSQL dies in a transaction, before, during or after COMMIT: what was asked happens once."""

import time

import psycopg
import pytest
from store_pairs import UNIT_BITS, TwoStores

from bellrelay.keys.key_requests import DeliveredKey
from bellrelay.keys.key_states import KeyState
from bellrelay.keys.store_errors import StoreUnavailable

pytestmark = pytest.mark.needs_server


@pytest.fixture
def two(tmp_path, postgresql):
    urls = postgresql.new_database(), postgresql.new_database()
    with TwoStores(tmp_path, urls) as stores:
        stores.block(units=60)
        yield stores


def kill_and_start(server):
    server.kill()
    server.start()


def at_commit(store, monkeypatch, deed):
    """Have the store's next COMMIT replaced by ``deed(connection, commit)``."""
    dialect = store._database._engine.dialect
    commit = dialect.do_commit
    left = [deed]

    def do_commit(connection):
        if left:
            return left.pop()(connection, commit)
        return commit(connection)

    monkeypatch.setattr(dialect, "do_commit", do_commit)


def lost_before(server):
    def deed(connection, commit):
        kill_and_start(server)
        commit(connection)

    return deed


def lost_after(server):
    def deed(connection, commit):
        commit(connection)
        kill_and_start(server)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    return deed


@pytest.mark.parametrize("lost", [lost_before, lost_after])
def test_a_key_is_delivered_once_whenever_the_database_dies(two, postgresql, monkeypatch, lost):
    (reservation,) = two.reserve()
    two.b.adopt([reservation])
    at_commit(two.a, monkeypatch, lost(postgresql))
    (key,) = two.a.deliver([reservation.key_id])
    assert isinstance(key, DeliveredKey)
    assert len(key.key) * 8 == UNIT_BITS
    assert any(key.key)
    assert two.a.key(key.key_id).state is KeyState.CONSUMED
    (got,) = two.fetch([key.key_id])
    assert got.key == key.key
    outcomes = [event.outcome for event in two.records[0].of("key-delivered")]
    # What did not happen is on record as such, and then what did.
    assert outcomes == (["success"] if lost is lost_after else ["success", "failure", "success"])


@pytest.mark.parametrize("lost", [lost_before, lost_after])
def test_units_are_reserved_once_whenever_the_database_dies(two, postgresql, monkeypatch, lost):
    free = two.a.free_units("bank")
    at_commit(two.a, monkeypatch, lost(postgresql))
    reserved = two.reserve(3)
    assert len(reserved) == 3
    assert two.a.free_units("bank") == free - 3
    assert {r.key_id for r in two.a.undelivered()} == {r.key_id for r in reserved}


def test_a_database_that_dies_between_operations(two, postgresql):
    keys = two.give(2)
    kill_and_start(postgresql)
    assert [k.key for k in two.fetch([k.key_id for k in keys])] == [k.key for k in keys]


def test_one_that_stays_away(two, postgresql, monkeypatch):
    (reservation,) = two.reserve()
    two.b.adopt([reservation])
    database = two.a._database
    monkeypatch.setattr(database, "_patience_s", 0.5)

    def deed(connection, commit):
        postgresql.kill()
        commit(connection)

    at_commit(two.a, monkeypatch, deed)
    begun = time.monotonic()
    try:
        with pytest.raises(StoreUnavailable) as raised:
            two.a.deliver([reservation.key_id])
    finally:
        postgresql.start()
    assert time.monotonic() - begun < 10
    assert postgresql.password not in str(raised.value)
    assert [e.outcome for e in two.records[0].of("key-delivered")] == ["success", "unknown"]
    # It did not happen, as it turns out.
    (key,) = two.a.deliver([reservation.key_id])
    assert [k.key for k in two.fetch([key.key_id])] == [key.key]


def test_two_processes_of_a_kme_never_reserve_the_same_unit(two):
    """Two stores on one database, as two processes have them, in many threads."""
    import threading

    from store_pairs import KME_IDS, PAIRS, Records, keyring, request

    from bellrelay.keys.key_store import KeyStore

    other = KeyStore(
        two.urls[0], KME_IDS[0], PAIRS, keyring(two.folder, "kme-a"), Records(), two.settings
    )
    free = two.a.free_units("bank")
    taken, faults = [], []

    def work(store):
        try:
            for _ in range(free):
                (got,) = store.reserve([request()])
                if isinstance(got, list):
                    taken.extend(unit for r in got for unit in r.units)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(s,)) for s in (two.a, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert not faults
    assert len(taken) == len(set(taken)) == free
