"""The key pool: no byte is used twice, whatever happens, and the two sides stay aligned."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint import key_files
from bellrelay.endpoint.key_files import read_secret, write_new_secret
from bellrelay.endpoint.key_ledger import KeyLedger
from bellrelay.endpoint.key_pool import (
    MAX_SEGMENT_BYTES,
    TAG_KEY_BYTES,
    KeyPool,
    KeyPoolBusy,
    KeyPoolDamaged,
    KeyPoolDry,
    KeyPoolError,
    KeyRefused,
    Reserve,
)
from bellrelay.service.private_file import UnsafeMode

NO_RESERVE = Reserve(bytes=0)
# Every byte tells its place; no 32 of them are zeros.
SECRET = b"".join(i.to_bytes(4, "big") for i in range(1, 1025))
HALF = len(SECRET) // 2


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: what is written counts as durable without waiting for the disk.

    `test_what_is_handed_out_was_flushed_before` is about the waiting.
    """
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(key_files.os, name, lambda descriptor: None)
    make = KeyLedger.__init__

    def make_quick(ledger: KeyLedger, path: Path) -> None:
        make(ledger, path)
        ledger._db.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(KeyLedger, "__init__", make_quick)


class Clock:
    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now


@contextmanager
def opened(
    path: Path, role: Role, reserve: Reserve = NO_RESERVE, clock: Callable[[], float] | None = None
) -> Iterator[KeyPool]:
    pool = KeyPool(path, role, reserve=reserve, clock=clock or Clock())
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paths(tmp_path: Path, clock: Clock) -> tuple[Path, Path]:
    for name in ("alice", "bob"):
        KeyPool.create(tmp_path / name, SECRET, clock=clock)
    return tmp_path / "alice", tmp_path / "bob"


@pytest.fixture
def pools(paths: tuple[Path, Path], clock: Clock) -> Iterator[tuple[KeyPool, KeyPool]]:
    with (
        opened(paths[0], Role.ALICE, clock=clock) as alice,
        opened(paths[1], Role.BOB, clock=clock) as bob,
    ):
        yield alice, bob


def test_both_sides_have_the_same_key_in_both_directions(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    for number in range(5):
        index, key = alice.draw()
        assert bob.take(index) == key == SECRET[32 * number : 32 * number + 32]
        index, key = bob.draw()
        assert alice.take(index) == key == SECRET[HALF + 32 * number : HALF + 32 * number + 32]


def test_the_directions_share_no_byte(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    drawn = [pool.draw()[1] for pool in pools for _ in range(HALF // 32)]
    assert len(set(drawn)) == len(drawn)
    assert b"".join(drawn) == SECRET
    for pool in (alice, bob):
        with pytest.raises(KeyPoolDry):
            pool.draw()


def test_any_size_is_drawn(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    for size in (1, 16, 100, 32, 1000):
        index, key = alice.draw(size)
        assert len(key) == size
        assert bob.take(index, size) == key
    for size in (0, -1, MAX_SEGMENT_BYTES + 1):
        with pytest.raises(ValueError):
            alice.draw(size)


# Rule 21, and DESIGN section 6: what is consumed, is.


def test_rule_21_an_index_that_was_used_is_refused(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    indices = [alice.draw()[0] for _ in range(3)]
    for index in indices:
        bob.take(index)
    for index in indices:
        with pytest.raises(KeyRefused, match="replay"):
            bob.take(index)
    # Nor a part of it, nor more than it.
    for index, size in ((indices[1] + 5, 3), (indices[0], 200), (indices[2] - 1, 2)):
        with pytest.raises(KeyRefused):
            bob.take(index, size)


def test_rule_21_a_replay_is_refused_after_a_restart(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE) as alice, opened(paths[1], Role.BOB) as bob:
        index, _ = alice.draw()
        bob.take(index)
    with opened(paths[1], Role.BOB) as bob, pytest.raises(KeyRefused):
        bob.take(index)


def test_what_was_lost_on_the_way_leaves_both_aligned(pools: tuple[KeyPool, KeyPool]) -> None:
    """Tags that never came are passed over; those of a block beside come later and still fit."""
    alice, bob = pools
    tags = [alice.draw() for _ in range(10)]
    for number in (0, 3, 9, 4, 1):
        index, key = tags[number]
        assert bob.take(index) == key
    index, key = alice.draw()
    assert bob.take(index) == key
    for number in (0, 1, 3, 4, 9):
        with pytest.raises(KeyRefused):
            bob.take(tags[number][0])


@pytest.mark.parametrize("index", [-1, HALF, HALF - 31, 1 << 24, 5 << 24, 1 << 62, 1 << 80])
def test_an_index_of_nothing_is_refused(pools: tuple[KeyPool, KeyPool], index: int) -> None:
    _, bob = pools
    with pytest.raises(KeyRefused, match="not in the pool"):
        bob.take(index)


def test_our_own_index_is_of_no_use_to_us(pools: tuple[KeyPool, KeyPool]) -> None:
    """Reflection: Alice's index read by Alice names key of Bob's half."""
    alice, _ = pools
    index, key = alice.draw()
    assert alice.take(index) != key


@given(
    acts=st.lists(
        st.one_of(
            st.tuples(st.just("draw"), st.sampled_from([1, 16, 32, 32, 32, 200])),
            st.tuples(st.just("take"), st.integers(0, 40)),
            st.tuples(st.just("restart"), st.integers(0, 1)),
            st.tuples(st.just("refill"), st.integers(0, 300)),
        ),
        max_size=40,
    )
)
@settings(max_examples=12, deadline=None)
def test_any_order_of_events_spends_every_byte_once(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp("pool")
    for name in ("alice", "bob"):
        KeyPool.create(root / name, SECRET)
    pools = [
        KeyPool(root / role.value, role, reserve=NO_RESERVE) for role in (Role.ALICE, Role.BOB)
    ]
    drawn: list[tuple[int, bytes]] = []
    taken: set[int] = set()
    spent: set[int] = set()
    refills = 0
    for act, value in acts:
        if act == "draw":
            try:
                index, key = pools[0].draw(value)
            except KeyPoolDry:
                continue
            where = set(range(index, index + value))
            assert not where & spent
            spent |= where
            drawn.append((index, key))
        elif act == "take" and drawn:
            index, key = drawn[value % len(drawn)]
            if index in taken:
                with pytest.raises(KeyRefused):
                    pools[1].take(index, len(key))
            else:
                assert pools[1].take(index, len(key)) == key
                taken.add(index)
        elif act == "restart":
            role = (Role.ALICE, Role.BOB)[value]
            pools[value].close()
            pools[value] = KeyPool(root / role.value, role, reserve=NO_RESERVE)
        elif act == "refill":
            refills += 1
            material = random.Random(refills).randbytes(value)
            for pool in pools:
                assert pool.refill(f"block {refills}", material, shared=True) == (value >= 2)
    for pool in pools:
        pool.close()
    shutil.rmtree(root)


# What is on disk.


def _material(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.glob("*.key")))


def test_what_is_spent_is_nowhere_on_disk(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE) as alice, opened(paths[1], Role.BOB) as bob:
        index, key = alice.draw()
        assert bob.take(index) == key
        for path in paths:
            for file in path.iterdir():
                assert key not in file.read_bytes()
        assert _material(paths[0])[:32] == bytes(32)
        assert _material(paths[0])[32:64] == SECRET[32:64]
    for path in paths:
        for file in path.iterdir():
            assert key not in file.read_bytes()


def test_no_key_is_in_the_ledger(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE) as alice:
        alice.refill("block 1", SECRET[::-1], shared=True)
        alice.draw()
        for file in paths[0].glob("ledger*"):
            data = file.read_bytes()
            for first in range(0, len(SECRET), 64):
                assert SECRET[first : first + 16] not in data
                assert SECRET[::-1][first : first + 16] not in data


def test_a_segment_that_is_used_up_is_removed(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    alice.refill("next", SECRET, shared=True)
    bob.refill("next", SECRET, shared=True)
    for _ in range(HALF // 32):
        bob.take(alice.draw()[0])
        alice.take(bob.draw()[0])
    for pool in pools:
        assert pool.status().segments == 1
        assert pool.status().send_left == HALF
    assert alice.draw()[1] == SECRET[:32]
    with pytest.raises(KeyRefused):
        bob.take(0)


def test_files_are_ours_alone(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE) as alice:
        alice.refill("block 1", SECRET, shared=True)
        alice.draw()
        assert paths[0].stat().st_mode & 0o777 == 0o700
        for file in paths[0].iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file


@pytest.mark.parametrize("pattern", [".", "ledger.sqlite", "*-0.key", "*-1.key"])
@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020])
def test_a_pool_that_others_could_read_is_refused(
    paths: tuple[Path, Path], pattern: str, mode: int
) -> None:
    victim = paths[0] if pattern == "." else next(paths[0].glob(pattern))
    victim.chmod(victim.stat().st_mode | mode)
    with pytest.raises(UnsafeMode, match="lets others in"), opened(paths[0], Role.ALICE):
        pass
    victim.chmod(victim.stat().st_mode & ~mode)
    with opened(paths[0], Role.ALICE):
        pass


def test_a_secret_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_new_secret(file, 1000)
    assert len(read_secret(file)) == 1000
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_new_secret(file, 1000)
    file.chmod(0o640)
    with pytest.raises(UnsafeMode):
        read_secret(file)


@pytest.mark.parametrize("size", [0, 62, 65, 2 * MAX_SEGMENT_BYTES + 2])
def test_a_secret_of_no_use(tmp_path: Path, size: int) -> None:
    with pytest.raises(KeyPoolError, match="even number"):
        KeyPool.create(tmp_path / "pool", bytes(size))
    assert not (tmp_path / "pool").exists()


def test_a_pool_is_not_made_twice(paths: tuple[Path, Path]) -> None:
    """Or all of its key would be used again."""
    with opened(paths[0], Role.ALICE) as alice:
        alice.draw()
    with pytest.raises(KeyPoolError, match="already"):
        KeyPool.create(paths[0], SECRET)


def test_alices_pool_never_becomes_bobs(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE):
        pass
    with pytest.raises(KeyPoolDamaged, match="alice's key pool"), opened(paths[0], Role.BOB):
        pass


def test_one_process_at_a_time(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE):
        with pytest.raises(KeyPoolBusy), opened(paths[0], Role.ALICE):
            pass
        command = [
            sys.executable,
            "-c",
            "import sys, pathlib\n"
            "from bellrelay.endpoint.key_pool import *\n"
            "from bellrelay.distill.reconcile.engine import Role\n"
            "try: KeyPool(pathlib.Path(sys.argv[1]), Role.ALICE)\n"
            "except KeyPoolBusy: print('busy')",
            str(paths[0]),
        ]
        assert subprocess.check_output(command, text=True) == "busy\n"
    with opened(paths[0], Role.ALICE):
        pass


def test_threads_never_get_the_same_key(pools: tuple[KeyPool, KeyPool]) -> None:
    drawn: list[bytes] = []

    def draw() -> None:
        for _ in range(8):
            drawn.append(pools[0].draw()[1])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 32


@pytest.mark.parametrize("damage", ["missing", "cut", "zeros", "no ledger", "garbage ledger"])
def test_a_damaged_pool_gives_no_key(paths: tuple[Path, Path], damage: str) -> None:
    file = paths[0] / "0000000000-0.key"
    ledger = paths[0] / "ledger.sqlite"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        os.truncate(file, 16)
    elif damage == "zeros":
        file.write_bytes(bytes(HALF))
    elif damage == "no ledger":
        ledger.unlink()
    else:
        ledger.write_bytes(b"x" * 4096)
    with pytest.raises(KeyPoolDamaged), opened(paths[0], Role.ALICE) as alice:
        alice.draw()


# Refills.


def test_a_refill_counts_once(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    for pool in pools:
        assert pool.refill("block 1", b"\1" * 200, shared=True)
        assert not pool.refill("block 1", b"\2" * 200, shared=True)
        assert pool.status().send_left == HALF + 100
    for _ in range(HALF // 32):
        alice.draw()
    index, key = alice.draw()
    assert bob.take(index) == key == b"\1" * 32


def test_a_refill_counts_once_though_it_was_used_up(paths: tuple[Path, Path]) -> None:
    for _ in range(2):
        with opened(paths[0], Role.ALICE) as alice, opened(paths[1], Role.BOB) as bob:
            for pool in (alice, bob):
                pool.refill("block 1", SECRET[:128], shared=True)
            while True:
                try:
                    bob.take(alice.draw()[0])
                    alice.take(bob.draw()[0])
                except KeyPoolDry:
                    break
    with opened(paths[0], Role.ALICE) as alice:
        assert not alice.refill("block 1", SECRET[:128], shared=True)
        assert alice.status().send_left == 0


def test_order_of_refills_does_not_matter(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    names = [f"block {i}" for i in range(5)]
    for name in names:
        alice.refill(name, random.Random(name).randbytes(96), shared=True)
    for name in reversed(names):
        bob.refill(name, random.Random(name).randbytes(96), shared=True)
    while True:
        try:
            index, key = alice.draw()
        except KeyPoolDry:
            break
        assert bob.take(index) == key


def test_a_refill_that_the_peer_may_not_have_is_not_drawn(paths: tuple[Path, Path]) -> None:
    with opened(paths[0], Role.ALICE) as alice:
        alice.refill("block 1", b"\1" * 64, shared=False)
        assert alice.status().unshared == 32
        assert alice.status().send_left == HALF
        for _ in range(HALF // 32):
            alice.draw()
        with pytest.raises(KeyPoolDry):
            alice.draw()
    with opened(paths[0], Role.ALICE) as alice:
        # The peer may have it, and use it.
        assert alice.take(alice_index("block 1")) == b"\1" * 32
        alice.share("block 1")
        assert alice.draw() == (alice_index("block 1"), b"\1" * 32)


def alice_index(origin: str) -> int:
    from bellrelay.endpoint.key_pool import _number

    return _number(origin) << 24


@pytest.mark.parametrize("size", [0, 1])
def test_a_refill_of_nothing(pools: tuple[KeyPool, KeyPool], size: int) -> None:
    assert not pools[0].refill("block 1", bytes(size), shared=True)


def test_a_refill_that_is_too_long(pools: tuple[KeyPool, KeyPool]) -> None:
    with pytest.raises(KeyPoolError, match="at most"):
        pools[0].refill("block 1", bytes(2 * MAX_SEGMENT_BYTES + 2), shared=True)


# Dry, and the reserve.


def test_rule_21_the_pool_refuses_to_run_dry(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, _ = pools
    for _ in range(HALF // 32):
        alice.draw()
    with pytest.raises(KeyPoolDry) as dry:
        alice.draw()
    assert dry.value.left == 0
    assert dry.value.retry_after_s is None
    with pytest.raises(KeyPoolDry):
        alice.wait_s(32)


def test_rule_21_forced_aborts_cannot_drain_the_link(
    paths: tuple[Path, Path], clock: Clock
) -> None:
    """An attacker ends every exchange after the first tag, for a day, as fast as he can."""
    reserve = Reserve(bytes=1024, burst=128, per_s=32 / 3600)
    with opened(paths[0], Role.ALICE, reserve, clock) as alice:
        while alice.status().send_left > 1024 - 128:
            alice.draw()
        with pytest.raises(KeyPoolDry) as dry:
            alice.draw()
        assert dry.value.left == 1024 - 128
        assert dry.value.retry_after_s == pytest.approx(3600)
        drawn = 0
        for _ in range(24 * 6):
            clock.now += 600
            try:
                alice.draw()
            except KeyPoolDry:
                continue
            drawn += 1
        assert 23 <= drawn <= 24
        assert alice.status().in_reserve
    # A restart gives no new allowance, nor does a clock that is set back.
    clock.now -= 5000
    with opened(paths[0], Role.ALICE, reserve, clock) as alice, pytest.raises(KeyPoolDry):
        alice.draw()


def test_rule_21_without_a_reserve_they_would(paths: tuple[Path, Path], clock: Clock) -> None:
    with opened(paths[0], Role.ALICE, NO_RESERVE, clock) as alice:
        for _ in range(HALF // 32):
            alice.draw()
        assert alice.status().send_left == 0


def test_rule_21_forged_indices_cannot_drain_the_peers_half(
    paths: tuple[Path, Path], clock: Clock
) -> None:
    """Each costs one key, wherever it points, and below the reserve they are slowed down."""
    reserve = Reserve(bytes=1024, burst=128, per_s=1.0)
    places = [32 * number for number in range(HALF // 32)]
    random.Random(3).shuffle(places)
    with opened(paths[1], Role.BOB, reserve, clock) as bob:
        refused = 0
        for place in places:
            try:
                bob.take(place)
            except KeyPoolDry:
                refused += 1
        assert refused == (1024 - 128) // 32
        assert bob.status().receive_left == 1024 - 128


def test_after_an_attack_a_refill_lifts_the_limit(paths: tuple[Path, Path], clock: Clock) -> None:
    reserve = Reserve(bytes=HALF, burst=64, per_s=1.0)
    with opened(paths[0], Role.ALICE, reserve, clock) as alice:
        alice.draw(64)
        assert alice.wait_s(64) == pytest.approx(64)
        with pytest.raises(KeyPoolDry):
            alice.draw()
        alice.refill("block 1", SECRET, shared=True)
        assert alice.wait_s(64) == 0
        alice.draw()


def test_wait_s_tells_when_a_block_can_begin(paths: tuple[Path, Path], clock: Clock) -> None:
    reserve = Reserve(bytes=HALF - 100, burst=200, per_s=10.0)
    with opened(paths[0], Role.ALICE, reserve, clock) as alice:
        assert alice.wait_s(100) == 0
        alice.draw(150)
        assert alice.wait_s(100) == pytest.approx((100 - 50) / 10)
        clock.now += 5.001
        assert alice.wait_s(100) == 0
        alice.draw(100)
        with pytest.raises(KeyPoolDry) as dry:
            alice.wait_s(201)
        assert dry.value.retry_after_s is None


@pytest.mark.parametrize("wrong", [{"bytes": -1}, {"burst": 31}, {"per_s": 0.0}])
def test_a_reserve_that_makes_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Reserve(**wrong)


# Rotation.


def test_old_key_is_wiped_where_the_pool_can_spare_it(
    paths: tuple[Path, Path], clock: Clock
) -> None:
    reserve = Reserve(bytes=500)
    with opened(paths[0], Role.ALICE, reserve, clock) as alice:
        alice.draw()
        clock.now += 1000
        assert alice.rotate(900) == 0  # nothing else is there
        alice.refill("block 1", SECRET, shared=True)
        assert alice.rotate(1001) == 0  # not old enough
        assert alice.rotate(1000, grace_s=50) == HALF - 32
        assert alice.status().passed_over == HALF - 32
        assert _material(paths[0])[:HALF] == bytes(HALF)
        assert _material(paths[0])[HALF : 2 * HALF] == SECRET[HALF:]
        # The peer may still use its half, until the grace is over.
        assert alice.take(0) == SECRET[HALF : HALF + 32]
        assert alice.draw()[1] == SECRET[:32]
        clock.now += 50
        assert alice.rotate(1000, grace_s=50) == HALF - 32
        assert alice.status().segments == 1
        with pytest.raises(KeyRefused):
            alice.take(32)


def test_what_the_peer_has_passed_over_is_rotated_out(
    pools: tuple[KeyPool, KeyPool], clock: Clock
) -> None:
    alice, bob = pools
    tags = [alice.draw() for _ in range(HALF // 32)]
    for index, _ in tags[1:]:
        bob.take(index)
    for _ in range(HALF // 32):
        bob.draw()
    assert bob.status().receive_left == 32
    clock.now += 100
    assert bob.rotate(90, grace_s=10) == 32
    assert bob.status().segments == bob.status().receive_left == 0
    with pytest.raises(KeyRefused):
        bob.take(tags[0][0])


# Death at any moment.


class Killed(BaseException):
    """The process dies here."""


class Boundary:
    """Counts the writes to disk, and dies before or after one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self.die_at: int | None = None
        self.torn = False
        for name in ("write", "pwrite", "fsync", "fdatasync", "replace", "open"):
            monkeypatch.setattr(key_files.os, name, self._guard(name, getattr(os, name)))

    def _guard(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            self.step()
            if self.torn and name in ("write", "pwrite") and self.passed == self.die_at:
                data = memoryview(arguments[1])  # type: ignore[arg-type]
                real(arguments[0], data[: len(data) // 2], *arguments[2:], **named)
                raise Killed
            return real(*arguments, **named)

        return call

    def step(self) -> None:
        self.passed += 1
        if self.passed == self.die_at and not self.torn:
            raise Killed


class GuardedDatabase:
    """A connection whose every statement is a boundary, before and after it."""

    def __init__(self, real: sqlite3.Connection, boundary: Boundary) -> None:
        self._real = real
        self._boundary = boundary

    def execute(self, *arguments: object) -> sqlite3.Cursor:
        self._boundary.step()
        cursor = self._real.execute(*arguments)  # type: ignore[arg-type]
        self._boundary.step()
        return cursor

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def close(self) -> None:
        self._real.close()


def _die(pool: KeyPool, boundary: Boundary) -> None:
    """What the kernel does for a process that dies: files and locks are let go, nothing else."""
    boundary.die_at = None
    connection = pool._ledger._db
    real = connection._real if isinstance(connection, GuardedDatabase) else connection
    if real.in_transaction:
        real.execute("ROLLBACK")
    real.close()
    os.close(pool._lock)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("act", ["draw", "take", "refill", "last draw"])
def test_death_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, torn: bool
) -> None:
    boundary = Boundary(monkeypatch)
    boundary.torn = torn
    secret = SECRET[:256]
    refill = SECRET[1000:1128]
    at = 0
    completed = False
    while not completed:
        at += 1
        path = tmp_path / str(at)
        boundary.die_at = None
        KeyPool.create(path, secret)
        pool = KeyPool(path, Role.ALICE, reserve=NO_RESERVE)
        handed_out: list[bytes] = []
        if act == "last draw":
            handed_out += [pool.draw()[1] for _ in range(3)]
            for number in range(4):
                pool.take(32 * number)
        pool._ledger._db = GuardedDatabase(pool._ledger._db, boundary)  # type: ignore[assignment]
        boundary.passed, boundary.die_at = 0, at
        added = taken = False
        try:
            if act in ("draw", "last draw"):
                handed_out.append(pool.draw()[1])
            elif act == "take":
                taken = bool(pool.take(64))
            else:
                added = pool.refill("block 1", refill, shared=True)
            completed = boundary.passed < at
        except Killed:
            pass
        _die(pool, boundary)

        with opened(path, Role.ALICE) as pool:
            if act == "take":
                if taken:
                    with pytest.raises(KeyRefused):
                        pool.take(64)
                else:
                    # Taken or not, it is not taken twice.
                    try:
                        pool.take(64)
                    except KeyRefused:
                        assert secret[128 + 64 : 128 + 96] not in _material(path)
                    with pytest.raises(KeyRefused):
                        pool.take(64)
            if act == "refill":
                before = pool.status().send_left
                assert before in (128, 192)
                assert before == 192 or not added
                pool.refill("block 1", refill, shared=True)
                assert pool.status().send_left == 192
                assert not list(path.glob("*.new"))
            while True:
                try:
                    handed_out.append(pool.draw()[1])
                except KeyPoolDry:
                    break
        assert len(set(handed_out)) == len(handed_out)
        everything = secret[:128] + (refill[:64] if act == "refill" else b"")
        for key in handed_out:
            assert key in everything
        assert len(handed_out) >= len(everything) // 32 - 1
        assert not any(_material(path)[:128]) or not list(path.glob("0000000000-0.key"))
    assert at > 10


def test_death_while_a_pool_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boundary = Boundary(monkeypatch)
    at = 0
    while True:
        at += 1
        path = tmp_path / str(at)
        boundary.passed, boundary.die_at = 0, at
        try:
            KeyPool.create(path, SECRET)
        except Killed:
            boundary.die_at = None
            if not (path / "ledger.sqlite").exists():
                with pytest.raises(KeyPoolDamaged, match="no key pool"), opened(path, Role.ALICE):
                    pass
                KeyPool.create(path, SECRET)
        done = boundary.passed < at
        boundary.die_at = None
        with opened(path, Role.ALICE) as pool:
            assert pool.draw() == (0, SECRET[:32])
        if done:
            break
    assert at > 10


def test_what_is_handed_out_was_flushed_before(
    paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger first, to the disk; then the material is wiped, to the disk; then the key."""
    with opened(paths[0], Role.ALICE) as alice:
        pass
    monkeypatch.undo()
    order: list[str] = []
    real_wipe, real_sync = key_files.KeyFiles.wipe, os.fdatasync
    with opened(paths[0], Role.ALICE) as alice:
        assert alice._ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert alice._ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)

        def wipe(files: key_files.KeyFiles, name: str, first: int, end: int) -> None:
            rival = sqlite3.connect(paths[0] / "ledger.sqlite")
            assert rival.execute("SELECT drawn FROM segment").fetchone() == (end,)
            rival.close()
            order.append("wipe")
            real_wipe(files, name, first, end)

        def sync(descriptor: int) -> None:
            order.append("sync")
            real_sync(descriptor)

        monkeypatch.setattr(key_files.KeyFiles, "wipe", wipe)
        monkeypatch.setattr(key_files.os, "fdatasync", sync)
        alice.draw()
    assert order == ["wipe", "sync"]


def test_a_ledger_that_cannot_be_written_gives_no_key(
    paths: tuple[Path, Path], clock: Clock
) -> None:
    with opened(paths[0], Role.ALICE, clock=clock) as alice:
        alice.draw()
        rival = sqlite3.connect(paths[0] / "ledger.sqlite", isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        alice._ledger._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(KeyPoolError, match="cannot be written"):
            alice.draw()
        rival.execute("ROLLBACK")
        rival.close()
        assert alice.draw()[1] == SECRET[32:64]


_SPENDER = """
import pathlib, sys
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.key_pool import KeyPool, KeyPoolDry, Reserve
pool = KeyPool(pathlib.Path(sys.argv[1]), Role.ALICE, reserve=Reserve(bytes=0))
print("begun", flush=True)
number = 0
while True:
    try:
        index, key = pool.draw()
        print("drew", index, key.hex(), flush=True)
        number = number + 1
        key = pool.take(index)
        print("took", index, key.hex(), flush=True)
    except KeyPoolDry:
        print("dry", flush=True)
        break
"""


def test_kill_at_random_moments(tmp_path: Path) -> None:
    """Whatever was handed out before SIGKILL is never handed out again."""
    # More than the fastest machine spends before it is killed.
    secret = random.Random(1).randbytes(1 << 20)
    path = tmp_path / "pool"
    KeyPool.create(path, secret)
    chance = random.Random(2)
    seen: dict[tuple[str, int], str] = {}
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", _SPENDER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        timer = threading.Timer(chance.uniform(0.0, 0.3), process.send_signal, [signal.SIGKILL])
        timer.start()
        lines = process.stdout.read().splitlines()
        process.wait()
        timer.cancel()
        for line in lines:
            words = line.split()
            if len(words) != 3 or len(words[2]) != 64:
                continue  # what was cut off by death
            place = words[0], int(words[1])
            assert place not in seen
            seen[place] = words[2]
    assert len(seen) > 20
    half = len(secret) // 2
    for (act, index), key in seen.items():
        first = index + (half if act == "took" else 0)
        assert secret[first : first + 32].hex() == key
    # What is left begins behind all of it, and is wiped up to there.
    with opened(path, Role.ALICE) as pool:
        index, _ = pool.draw()
        assert index > max(index for act, index in seen if act == "drew")
        assert not any((path / "0000000000-0.key").read_bytes()[: index + 32])


def test_no_key_in_any_text(paths: tuple[Path, Path]) -> None:
    shown: list[str] = []
    with opened(paths[0], Role.ALICE) as alice:
        shown += [repr(alice), str(alice), repr(alice.status())]
        index, _ = alice.draw()
        alice.take(index)
        for action in (
            lambda: alice.take(index),
            lambda: alice.take(1 << 40),
            lambda: alice.draw(HALF),
            lambda: alice.refill("x", bytes(2 * MAX_SEGMENT_BYTES + 2), shared=True),
        ):
            with pytest.raises(KeyPoolError) as error:
                action()
            shown += [str(error.value), repr(error.value)]
    for text in shown:
        for first in range(0, len(SECRET), 4):
            assert repr(SECRET[first : first + 4])[2:-1] not in text
            assert SECRET[first : first + 4].hex() not in text


def test_the_numbers_add_up(pools: tuple[KeyPool, KeyPool]) -> None:
    alice, bob = pools
    for _ in range(3):
        bob.take(alice.draw()[0])
    alice.take(bob.draw(100)[0], 100)
    alice.refill("block 1", bytes(range(200)), shared=False)
    status = alice.status()
    assert status.drawn == 3 * TAG_KEY_BYTES
    assert status.taken == 100
    assert status.send_left == HALF - 96
    assert status.receive_left == HALF - 100 + 100
    assert status.unshared == 100
    assert (status.refills, status.segments, status.passed_over) == (1, 2, 0)
    assert bob.status().receive_left == HALF - 96
