"""Keys on their way from the store to a manager: none is lost, none is pushed that must not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from store_pairs import UNIT_BITS, Records, TwoStores, keyring

from bellrelay.keys.bridge_backlog import BridgeBacklog
from bellrelay.keys.bridge_intake import take_owed
from bellrelay.keys.bridge_push import PushResult, push_round
from bellrelay.keys.bridge_settings import BridgeSettings, KmipTarget
from bellrelay.keys.bridge_targets import BridgeKey, TargetRefused, TargetUnavailable
from bellrelay.keys.database import Database
from bellrelay.keys.incident import Selector
from bellrelay.keys.sealing import Keyring

# The target is a pretended one here.
SETTINGS = BridgeSettings.model_construct(
    name="to-kms",
    sae="bob",
    kmip=KmipTarget.model_construct(address="kmip:5696"),
    https=None,
    key_size=UNIT_BITS,
    push="kme",
    settle_s=0.0,
    batch=4,
    max_waiting=100,
    retry_s=1.0,
    max_retry_s=8.0,
)


class Manager:
    """A key manager; ``mood`` is called with every key before it is taken."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.puts = 0
        self.recalls: list[str] = []
        self.mood: Callable[[BridgeKey], None] = lambda _key: None

    def put(self, key: BridgeKey) -> str:
        self.puts += 1
        self.mood(key)
        assert self.keys.setdefault(key.key_id, bytes(key.key)) == bytes(key.key)
        return f"remote-{key.key_id}"

    def recall(self, key_id: str, remote_id: str, reason: str) -> None:
        assert remote_id == f"remote-{key_id}"
        self.recalls.append(key_id)

    def close(self) -> None: ...


class Bench:
    """Two stores, and at b, whose slave is bob, a bridge."""

    def __init__(self, folder: Path, urls: tuple[str, str] | None = None) -> None:
        self.two = TwoStores(folder, urls)
        self.manager = Manager()
        self.records = Records()
        self.open()

    def open(self, ring: Keyring | None = None) -> None:
        database = Database(self.two.urls[1], self.records, self.two.clock)
        ring = ring or keyring(self.two.folder, "kme-b")
        self.backlog = BridgeBacklog(database, ring, self.two.clock)

    def owe(self, number: int, relay: str = "charles") -> dict[str, bytes]:
        """Keys that alice has and that bob is owed."""
        self.two.block(8 * number, relay)
        return {key.key_id: bytes(key.key) for key in self.two.give(number)}

    def take(self, limit: int = 1000) -> int:
        return take_owed(SETTINGS, self.two.b, self.backlog, limit)

    def push(self, **words: bool) -> PushResult:
        return push_round(SETTINGS, self.backlog, self.manager, **words)

    def counts(self) -> tuple[int, int, int]:
        counts = self.backlog.counts("to-kms")
        return counts.waiting, counts.held, counts.pushed

    def close(self) -> None:
        self.backlog.close()
        self.two.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_every_key_arrives_once_and_is_the_masters(bench: Bench) -> None:
    assert bench.backlog.idle("to-kms")
    owed = bench.owe(10)
    assert bench.take() == 10
    assert not bench.backlog.idle("to-kms")
    assert bench.counts() == (10, 0, 0)
    assert bench.push() == PushResult(pushed=10)
    assert bench.manager.keys == owed
    assert bench.counts() == (0, 0, 10)
    assert bench.take() == 0
    assert bench.push() == PushResult()
    assert bench.manager.puts == 10
    pushed = [event.object_ for event in bench.records.of("key-pushed")]
    assert sorted(pushed) == sorted(f"key:{key_id}" for key_id in owed)


@pytest.mark.needs_server
def test_the_backlog_is_in_a_postgresql_too(tmp_path: Path, postgresql: Any) -> None:
    bench = Bench(tmp_path, (postgresql.new_database(), postgresql.new_database()))
    owed = bench.owe(5)
    assert bench.take() == 5
    assert bench.push().pushed == 5
    assert bench.manager.keys == owed
    bench.close()


def test_a_masters_keys_go_the_same_way(bench: Bench) -> None:
    """Delivered by the store and taken in the same transaction."""
    bench.two.block(20)
    reservations = bench.two.reserve(3, side=1)
    bench.two.a.adopt(reservations)
    names = [r.key_id for r in reservations]
    keys = bench.two.b.deliver(names, partial(bench.backlog.take, "to-kms"))
    assert bench.push().pushed == 3
    assert bench.manager.keys == {key.key_id: bytes(key.key) for key in keys}


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_crash_while_a_key_is_taken_leaves_it_in_one_place(
    bench: Bench, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the commit it is in the store, after it in the backlog."""
    owed = bench.owe(3)

    def crash(*arguments: Any) -> None:
        if where == "after":
            bench.backlog.take("to-kms", *arguments)
        raise KeyboardInterrupt

    requests = bench.two.b.owed_to("bob", 10, 0.0)
    with pytest.raises(KeyboardInterrupt):
        bench.two.b.fetch(requests, crash)
    assert bench.counts() == (0, 0, 0)
    assert bench.take() == 3
    bench.push()
    assert bench.manager.keys == owed


def test_a_crash_between_put_and_putting_down_puts_the_same_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    owed = bench.owe(3)
    bench.take()
    with monkeypatch.context() as patch:
        patch.setattr(BridgeBacklog, "pushed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.push()
    assert bench.counts()[0] == 3
    bench.two.clock.pass_s(61)
    assert bench.push().pushed == 3
    assert bench.manager.keys == owed
    assert bench.manager.puts == 6


def test_a_manager_that_is_away_gets_everything_later(bench: Bench) -> None:
    owed = bench.owe(6)
    bench.take()

    def away(_key: BridgeKey) -> None:
        if len(bench.manager.keys) == 2:
            raise TargetUnavailable("HTTP 503")

    bench.manager.mood = away
    result = bench.push()
    assert (result.pushed, result.fault) == (2, "HTTP 503")
    assert bench.counts() == (4, 0, 2)
    # It is left alone for a while, twice as long with every failure, up to the longest.
    for wait in (1, 2, 4, 8, 8):
        assert bench.push().busy
        bench.two.clock.pass_s(wait - 0.01)
        assert bench.push().busy
        bench.two.clock.pass_s(0.02)
        assert bench.push().fault
    assert len(bench.records.of("bridge-unavailable")) == 1
    bench.manager.mood = lambda _key: None
    assert bench.push(even_if_early=True).pushed == 4
    assert bench.manager.keys == owed
    assert bench.backlog.counts("to-kms").fault == ""


def test_a_manager_that_says_when_is_left_alone_until_then(bench: Bench) -> None:
    bench.owe(1)
    bench.take()

    def busy(_key: BridgeKey) -> None:
        raise TargetUnavailable("HTTP 429", 30.0)

    bench.manager.mood = busy
    bench.push()
    bench.manager.mood = lambda _key: None
    bench.two.clock.pass_s(29)
    assert bench.push().busy
    bench.two.clock.pass_s(2)
    assert bench.push().pushed == 1


def test_a_key_that_is_refused_stops_no_other_and_is_not_lost(bench: Bench) -> None:
    owed = bench.owe(6)
    bench.take()
    bad = sorted(owed)[0]

    def choosy(key: BridgeKey) -> None:
        if key.key_id == bad:
            raise TargetRefused("HTTP 422")

    bench.manager.mood = choosy
    result = bench.push()
    assert (result.pushed, result.refused) == (5, 1)
    assert bench.push() == PushResult()
    assert bench.counts() == (1, 0, 5)
    assert bench.records.of("key-push-refused")[0].object_ == f"key:{bad}"
    bench.manager.mood = lambda _key: None
    bench.two.clock.pass_s(2)
    assert bench.push().pushed == 1
    assert bench.manager.keys == owed


def test_two_processes_do_not_push_at_once(bench: Bench) -> None:
    bench.owe(2)
    bench.take()
    turn = bench.backlog.take_turn("to-kms")
    assert turn is not None
    assert bench.push().busy
    # One that died with the turn keeps it for a minute, no longer.
    bench.two.clock.pass_s(61)
    assert bench.push().pushed == 2
    assert bench.backlog.waiting(turn, 10) == []


# ------------------------------------------------------------------------------------- incidents


def test_what_is_suspended_waits_and_hides_nothing_behind_it(bench: Bench) -> None:
    held = bench.owe(6, "charles")
    bench.take()
    free = bench.owe(3, "carla")
    bench.take()
    # Keys are taken from the oldest block, so only those of one relay are told apart by it.
    by_relay = relays(bench)
    bench.two.b.suspend(Selector("charles"), "spoofed clicks", "operator:root")
    assert bench.push().pushed == sum(relay == {"carla"} for relay in by_relay.values())
    assert bench.counts()[1] == sum("charles" in relay for relay in by_relay.values())
    assert set(bench.manager.keys) == {k for k, r in by_relay.items() if r == {"carla"}}
    (standing,) = bench.two.b.suspensions()
    bench.two.b.resume(standing.suspension_id, "operator:root")
    bench.push()
    assert bench.manager.keys == held | free


def relays(bench: Bench) -> dict[str, set[str]]:
    turn = bench.backlog.take_turn("to-kms")
    assert turn is not None
    found = {
        entry.key_id: {block["relay"] for block in entry.blocks}
        for entry in bench.backlog.waiting(turn, 1000)
    }
    bench.backlog.give_back(turn)
    return found


def test_what_is_revoked_is_wiped_or_called_back(bench: Bench) -> None:
    early = bench.owe(3)
    bench.take()
    bench.push()
    late = bench.owe(3)
    bench.take()
    found = bench.two.b.suspend(Selector("charles"), "spoofed clicks", "operator:root")
    assert bench.push() == PushResult()
    bench.two.b.revoke(found.suspension_id, "operator:root")
    result = bench.push()
    assert result.recalled == 3
    assert sorted(bench.manager.recalls) == sorted(early)
    assert set(bench.manager.keys) == set(early)
    counts = bench.backlog.counts("to-kms")
    assert (counts.waiting, counts.revoked, counts.recalled) == (0, 3, 3)
    assert len(bench.records.of("bridge-key-revoked")) == 3
    assert {e.object_ for e in bench.records.of("bridge-key-revoked")} == {
        f"key:{key_id}" for key_id in late
    }
    assert bench.push() == PushResult()
    assert sealed(bench) == []


def sealed(bench: Bench) -> list[bytes]:
    from sqlalchemy import select

    from bellrelay.keys.bridge_schema import bridge_entry

    query = select(bridge_entry.c.sealed).where(bridge_entry.c.sealed.is_not(None))
    rows = bench.backlog._database.read(lambda db: db.execute(query).all())
    return [bytes(row.sealed) for row in rows]


# ------------------------------------------------------------------------------------------ KEKs


def test_nothing_lies_there_in_clear(bench: Bench) -> None:
    owed = bench.owe(4)
    bench.take()
    blobs = sealed(bench)
    assert len(blobs) == 4
    assert not any(key in blob for key in owed.values() for blob in blobs)
    files = b"".join(path.read_bytes() for path in bench.two.folder.glob("kme-b.sqlite*"))
    assert not any(key in files for key in owed.values())
    bench.push()
    assert sealed(bench) == []


def test_another_kek(bench: Bench, tmp_path: Path) -> None:
    owed = bench.owe(5)
    bench.take()
    old = keyring(tmp_path, "kme-b")
    new = keyring(tmp_path, "new")
    bench.backlog.close()
    bench.open(Keyring(new._current, [old._current]))
    assert bench.backlog.keks() == {old.kek_id: 5}
    assert bench.backlog.reseal(3) == 3
    assert bench.backlog.reseal() == 2
    assert bench.backlog.reseal() == 0
    assert bench.backlog.keks() == {new.kek_id: 5}
    bench.backlog.close()
    bench.open(new)
    bench.push()
    assert bench.manager.keys == owed


def test_a_blob_that_was_changed_is_refused_and_stays(bench: Bench) -> None:
    from sqlalchemy import update

    from bellrelay.keys.bridge_schema import bridge_entry

    owed = bench.owe(2)
    bench.take()
    bad = min(owed)
    bench.backlog._database.write(
        lambda t: t.connection.execute(
            update(bridge_entry)
            .where(bridge_entry.c.key_id == bad)
            .values(sealed=sealed(bench)[0][:-1] + b"\0")
        ),
        lambda _result: None,
    )
    result = bench.push()
    assert (result.pushed, result.refused) == (1, 1)
    assert bench.counts()[0] == 1


def test_entries_that_ended_are_forgotten(bench: Bench) -> None:
    bench.owe(3)
    bench.take()
    bench.push()
    assert bench.backlog.purge(0) == 0
    assert bench.backlog.purge(1 << 62) == 3
    assert bench.counts() == (0, 0, 0)
