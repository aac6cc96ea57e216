"""The pool of one-time key that authenticates the channel between the endpoints.

Both endpoints begin with the same pre-shared secret and add the same share of every key that they
produce. Half of each is for what Alice says, half for what Bob says, so that neither ever uses a
byte of the other's. A byte is spent once: that it is spent is on disk before it is handed out, so a
process that dies at any moment loses bytes and never uses one twice.

An *index* names a byte: ``segment number << 24 | offset``. It travels with the tag. Each side draws
from its own half upwards. Of the other half an index is good once, in any order, as blocks run side
by side and tags get lost with a connection: what the peer passed over stays good until it is
rotated out. So a forged index costs the key that it names and no more. An index that comes again is
refused: a replay.

A directory of its own, mode 0700: the ledger (:mod:`.key_ledger`), in which there is no key, the
material (:mod:`.key_files`), overwritten as it is spent, and a lock, as one process at a time may
use it. **A copy that is put back, of a backup or of a virtual machine, spends bytes twice**: make a
new pool instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bellrelay.distill.reconcile.engine import Role
from bellrelay.service.private_file import require_private_directory, require_private_file

from .key_files import KeyFiles, sync_directory
from .key_ledger import Allowance, KeyLedger, Segment

__all__ = [
    "MAX_SEGMENT_BYTES",
    "TAG_KEY_BYTES",
    "KeyPool",
    "KeyPoolBusy",
    "KeyPoolDamaged",
    "KeyPoolDry",
    "KeyPoolError",
    "KeyRefused",
    "PoolLook",
    "PoolStatus",
    "Reserve",
    "look_at_pool",
]

TAG_KEY_BYTES = 32
_OFFSET_BITS = 24
MAX_SEGMENT_BYTES = 1 << _OFFSET_BITS
"""Most that one segment holds for one direction: 2^19 tags."""
_FORMAT = "bellrelay key pool 1"
_INITIAL = "pre-shared"
_LEDGER = "ledger.sqlite"
_LOCK = "lock"
_OWNER = "speaks"


class KeyPoolError(Exception):
    """The pool cannot be used so. No text of these errors holds any key."""


class KeyPoolBusy(KeyPoolError):
    """Another process uses the pool."""


class KeyPoolDamaged(KeyPoolError):
    """The pool is not what it must be: material is missing, or was spent behind our back."""


class KeyPoolDry(KeyPoolError):
    """No key for this now.

    Attributes
    ----------
    left : int
        Bytes left in the direction.
    retry_after_s : float or None
        When the reserve will give that much; None: only when the pool is refilled.
    """

    def __init__(self, wanted: int, left: int, retry_after_s: float | None) -> None:
        self.left = left
        self.retry_after_s = retry_after_s
        when = "until it is refilled"
        if retry_after_s is not None:
            when = f"for {retry_after_s:.0f} s: what is left is the reserve"
        super().__init__(f"key pool: {wanted} bytes wanted, {left} left, none {when}")


class KeyRefused(KeyPoolError):
    """The peer names key that is spent, or that was never there."""


@dataclass(frozen=True)
class Reserve:
    """What an attacker who forces aborts cannot spend at once.

    With less than ``bytes`` left in a direction, at most ``burst`` bytes are given out at a time,
    and ``per_s`` bytes a second in the long run: enough for a block now and then, which refills the
    pool if nobody disturbs it. (Rule 21: a reserve, so that forced aborts cannot drain the link.)
    """

    bytes: int = 8192
    burst: int = 512
    per_s: float = 0.5

    def __post_init__(self) -> None:
        if self.bytes < 0 or self.burst < TAG_KEY_BYTES or not self.per_s > 0:
            raise ValueError("a reserve has bytes >= 0, burst >= 32 and per_s > 0")


@dataclass(frozen=True)
class PoolStatus:
    """Numbers for metrics, in bytes; nothing of the key.

    send_left, receive_left : what may still be spent on tags of ours and of the peer. unshared :
    of ours, what waits for the peer to have it too. drawn, taken, passed_over : since the pool was
    opened; passed over is what was wiped unused. refills : likewise. segments : of which something
    is left. oldest_s : age of the oldest.
    """

    send_left: int
    receive_left: int
    unshared: int
    drawn: int
    taken: int
    passed_over: int
    refills: int
    segments: int
    oldest_s: float
    in_reserve: bool


class KeyPool:
    """The pool of one endpoint; its methods may be called from any thread.

    Parameters
    ----------
    path
        Directory that :meth:`create` made.
    role
        Whose tags we make. The first to open a pool claims it: Alice's copy cannot become Bob's.
    reserve
        See :class:`Reserve`.
    clock
        UTC seconds; for tests.

    Raises
    ------
    KeyPoolBusy, KeyPoolDamaged
        It is in use, or no pool of this role.
    UnsafeMode
        Others could read it.
    """

    def __init__(
        self,
        path: Path,
        role: Role,
        *,
        reserve: Reserve | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._reserve = reserve or Reserve()
        self._clock = clock
        self._thread_lock = threading.RLock()
        self._send = 0 if role is Role.ALICE else 1
        self._receive = 1 - self._send
        self._drawn = self._taken = self._passed_over = self._refills = 0
        self._files = _private_files(path)
        self._lock = _locked(path / _LOCK)
        try:
            self._ledger = KeyLedger(path / _LEDGER)
            try:
                self._claim(role)
                self._recover()
            except BaseException:
                self._ledger.close()
                raise
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise KeyPoolDamaged(f"{path}: {error}") from None
        except BaseException:
            os.close(self._lock)
            raise

    @staticmethod
    def create(path: Path, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """Make a pool of a pre-shared secret: the same bytes on both sides, and nowhere else.

        Parameters
        ----------
        path
            Directory to be made; what an attempt that died has left there is replaced.
        secret
            At least 64 bytes, uniform, an even number; half for each direction.

        Raises
        ------
        KeyPoolError
            There is a pool already, or the secret has no such length.
        UnsafeMode
            There is a directory, and others have access to it.
        """
        if len(secret) % 2 or not 2 * TAG_KEY_BYTES <= len(secret) <= 2 * MAX_SEGMENT_BYTES:
            raise KeyPoolError(
                f"a pre-shared secret has an even number of bytes from {2 * TAG_KEY_BYTES} to "
                f"{2 * MAX_SEGMENT_BYTES}, not {len(secret)}"
            )
        if (path / _LEDGER).exists():
            raise KeyPoolError(f"{path} is a key pool already")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private_directory(path)
        files = KeyFiles(path)
        half = len(secret) // 2
        for direction in range(2):
            files.write(files.name(0, direction), secret[direction * half : (direction + 1) * half])
        # The ledger comes last: without it the directory is no pool.
        partial = path / f"{_LEDGER}.new"
        for leftover in path.glob(f"{partial.name}*"):
            leftover.unlink()
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        ledger = KeyLedger(partial)
        with ledger.transaction():
            ledger.set_about("format", _FORMAT)
            ledger.add_segment(Segment(0, _INITIAL, half, clock(), shared=True))
        ledger.close()
        os.replace(partial, path / _LEDGER)
        for directory in (path, path.parent):
            sync_directory(directory)

    def close(self) -> None:
        """Release the pool for another process."""
        with self._thread_lock:
            self._ledger.close()
            os.close(self._lock)

    def draw(self, n_bytes: int = TAG_KEY_BYTES) -> tuple[int, bytes]:
        """Fresh key for a tag of ours.

        Returns
        -------
        index, key : where it begins, for the peer; and the bytes, which are nowhere any more.

        Raises
        ------
        KeyPoolDry
            Not enough is left, or what is left is the reserve and its allowance is spent.
        KeyPoolDamaged
            The material is not there.
        """
        _require_count(n_bytes)
        with self._thread_lock:
            with self._transaction():
                chosen = self._ledger.oldest_with(n_bytes)
                if chosen is None:
                    raise KeyPoolDry(n_bytes, self._ledger.left_to_draw(), None)
                self._spend(self._send, n_bytes, self._ledger.left_to_draw())
                first, end = chosen.drawn, chosen.drawn + n_bytes
                # Less than a tag's key at the end of a segment is passed over.
                rest = chosen.size - end if chosen.size - end < TAG_KEY_BYTES else 0
                self._ledger.set_drawn(chosen.number, end + rest)
            # From here on these bytes are spent, whatever happens.
            key = self._hand_out(chosen.number, self._send, first, end)
            self._wipe(chosen.number, self._send, end, end + rest)
            self._drawn += n_bytes
            self._passed_over += rest
            self._finish(chosen.number)
            return chosen.number << _OFFSET_BITS | first, key

    def take(self, index: int, n_bytes: int = TAG_KEY_BYTES) -> bytes:
        """The key that the peer has used at an index; once.

        Raises
        ------
        KeyRefused
            It was taken before, or there is no such key.
        KeyPoolDry
            What is left is the reserve, and its allowance is spent.
        KeyPoolDamaged
            The material is not there.
        """
        _require_count(n_bytes)
        number, first = index >> _OFFSET_BITS, index & (MAX_SEGMENT_BYTES - 1)
        end = first + n_bytes
        with self._thread_lock:
            with self._transaction():
                segment = self._ledger.segment(number) if index >= 0 else None
                if segment is None or end > segment.size:
                    raise KeyRefused("the peer names key that is not in the pool")
                taken = self._ledger.taken(number)
                if any(first < stop and end > begin for begin, stop in taken):
                    raise KeyRefused("the peer names key that is spent: a replay")
                self._spend(self._receive, n_bytes, self._ledger.left_to_take())
                self._ledger.add_taken(number, first, end)
            key = self._hand_out(number, self._receive, first, end)
            self._taken += n_bytes
            self._finish(number)
            return key

    def refill(self, origin: str, material: bytes, *, shared: bool) -> bool:
        """Add key that both sides have produced, once for each origin.

        Parameters
        ----------
        origin
            What names the block on both sides alike.
        material
            The same bytes on both sides, and used for nothing else; half for each direction.
        shared
            Whether the peer is known to have it in its pool, or on its disk for that. If not, none
            of it is drawn before :meth:`share`.

        Returns
        -------
        Whether it was added: False if that was done before, or if there are fewer than two bytes.

        Raises
        ------
        KeyPoolError
            More than a segment holds.
        """
        half = len(material) // 2
        if half > MAX_SEGMENT_BYTES:
            raise KeyPoolError(f"a refill has at most {2 * MAX_SEGMENT_BYTES} bytes")
        number = _number(origin)
        with self._thread_lock:
            # Two origins of one number: 2^-39, and then the second is not used on either side.
            if half == 0 or self._ledger.knows(origin, number):
                return False
            for direction in range(2):
                part = material[direction * half : (direction + 1) * half]
                self._files.write(self._files.name(number, direction), part)
            with self._transaction():
                self._ledger.add_segment(Segment(number, origin, half, self._clock(), shared))
            self._refills += 1
            return True

    def share(self, origin: str) -> None:
        """The peer has this refill too: it may be drawn from."""
        with self._thread_lock, self._transaction():
            self._ledger.set_shared(origin)

    def rotate(self, max_age_s: float, *, grace_s: float = 3600.0) -> int:
        """Wipe what has lain in the pool for too long, and give the number of bytes.

        Our half of a segment goes when it is ``max_age_s`` old, the peer's half ``grace_s`` later,
        as clocks differ, and with it what tags that were lost had passed over. What would leave
        less than the reserve stays until the pool is refilled.
        """
        wiped = 0
        with self._thread_lock:
            now = self._clock()
            for segment in self._ledger.segments():
                age = now - segment.made
                if age >= max_age_s and self._may_lose_ours(segment):
                    wiped += self._pass_over_ours(segment)
                if age >= max_age_s + grace_s and self._may_lose_theirs(segment):
                    wiped += self._pass_over_theirs(segment)
                self._finish(segment.number)
            self._passed_over += wiped
        return wiped

    def wait_s(self, n_bytes: int) -> float:
        """Seconds until so many bytes can be drawn at once; ask before a block that needs them.

        Raises
        ------
        KeyPoolDry
            They are not there, or more than the reserve ever gives at once.
        """
        with self._thread_lock:
            left = self._ledger.left_to_draw()
            if left < n_bytes:
                raise KeyPoolDry(n_bytes, left, None)
            if left - n_bytes >= self._reserve.bytes:
                return 0.0
            if n_bytes > self._reserve.burst:
                raise KeyPoolDry(n_bytes, left, None)
            missing = n_bytes - self._allowed(self._send, self._clock())
            return max(missing / self._reserve.per_s, 0.0)

    def status(self) -> PoolStatus:
        """How full the pool is."""
        with self._thread_lock:
            segments = self._ledger.segments()
            send, receive = self._ledger.left_to_draw(), self._ledger.left_to_take()
            return PoolStatus(
                send_left=send,
                receive_left=receive,
                unshared=self._ledger.left_to_draw(shared=False),
                drawn=self._drawn,
                taken=self._taken,
                passed_over=self._passed_over,
                refills=self._refills,
                segments=len(segments),
                oldest_s=max((self._clock() - s.made for s in segments), default=0.0),
                in_reserve=min(send, receive) < self._reserve.bytes,
            )

    def _claim(self, role: Role) -> None:
        if not _claimed(self._path, self._ledger, role):
            with self._transaction():
                self._ledger.set_about(_OWNER, role.value)

    def _recover(self) -> None:
        """Wipe what was spent when a process died, and what no ledger knows."""
        known = set()
        for segment in self._ledger.segments():
            names = [self._files.name(segment.number, direction) for direction in range(2)]
            known.update(names)
            if not set(names) <= set(self._files.names()):
                raise KeyPoolDamaged(f"{self._path}: material is missing")
            self._wipe(segment.number, self._send, 0, segment.drawn)
            for first, end in self._ledger.taken(segment.number):
                self._wipe(segment.number, self._receive, first, end)
            self._finish(segment.number)
        for name in list(self._files.names()):
            if name not in known:
                self._files.destroy(name)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._ledger.transaction():
                yield
        except sqlite3.Error as error:
            # Whether it is on disk or not: nothing was handed out.
            raise KeyPoolError(f"the ledger of the key pool cannot be written: {error}") from None

    def _spend(self, direction: int, n_bytes: int, left: int) -> None:
        """KeyPoolDry, or the reserve's allowance is less by what comes of it."""
        if left - n_bytes >= self._reserve.bytes:
            return
        now = self._clock()
        missing = n_bytes - self._allowed(direction, now)
        if missing > 0:
            wait = None if n_bytes > self._reserve.burst else missing / self._reserve.per_s
            raise KeyPoolDry(n_bytes, left, wait)
        self._ledger.set_allowance(direction, Allowance(-missing, now))

    def _allowed(self, direction: int, now: float) -> float:
        last = self._ledger.allowance(direction)
        if last is None:
            return float(self._reserve.burst)
        # A clock that was set back gives nothing for the time until then.
        grown = last.bytes + max(now - last.at, 0.0) * self._reserve.per_s
        return min(grown, float(self._reserve.burst))

    def _hand_out(self, number: int, direction: int, first: int, end: int) -> bytes:
        name = self._files.name(number, direction)
        key = self._files.read(name, first, end - first)
        self._files.wipe(name, first, end)
        if len(key) != end - first or (len(key) >= TAG_KEY_BYTES and not any(key)):
            raise KeyPoolDamaged("material is missing: it was cut off, or spent elsewhere")
        return key

    def _wipe(self, number: int, direction: int, first: int, end: int) -> None:
        name = self._files.name(number, direction)
        if not self._files.wiped(name, first, end):
            self._files.wipe(name, first, end)

    def _finish(self, number: int) -> None:
        """Remove a segment of which nothing is left."""
        segment = self._ledger.segment(number)
        if segment is None or segment.drawn < segment.size or self._untaken(segment):
            return
        with self._transaction():
            self._ledger.finish(number)
        for direction in range(2):
            self._files.destroy(self._files.name(number, direction))

    def _untaken(self, segment: Segment) -> int:
        taken = self._ledger.taken(segment.number)
        return segment.size - sum(end - first for first, end in taken)

    def _may_lose_ours(self, segment: Segment) -> bool:
        left = self._ledger.left_to_draw() - (segment.size - segment.drawn)
        return not segment.shared or left >= self._reserve.bytes

    def _may_lose_theirs(self, segment: Segment) -> bool:
        return self._ledger.left_to_take() - self._untaken(segment) >= self._reserve.bytes

    def _pass_over_ours(self, segment: Segment) -> int:
        with self._transaction():
            self._ledger.set_drawn(segment.number, segment.size)
        self._wipe(segment.number, self._send, segment.drawn, segment.size)
        return segment.size - segment.drawn

    def _pass_over_theirs(self, segment: Segment) -> int:
        untaken = self._untaken(segment)
        with self._transaction():
            self._ledger.add_taken(segment.number, 0, segment.size)
        self._wipe(segment.number, self._receive, 0, segment.size)
        return untaken


def _number(origin: str) -> int:
    """Of a refill's segment: 39 bits of its origin's hash, 0 being the pre-shared secret's."""
    digest = hashlib.sha256(b"bellrelay key pool segment " + origin.encode()).digest()
    return (int.from_bytes(digest[:5], "big") >> 1) or 1


def _require_count(n_bytes: int) -> None:
    if not 0 < n_bytes <= MAX_SEGMENT_BYTES:
        raise ValueError(f"{n_bytes} bytes of key cannot be asked for")


@dataclass(frozen=True)
class PoolLook:
    """What a look from outside shows, in bytes: what may still be spent on our tags and theirs."""

    send_left: int
    receive_left: int


def look_at_pool(path: Path, role: Role) -> PoolLook:
    """How full a pool is, whether somebody uses it or not; nothing is claimed, wiped or changed.

    Raises
    ------
    KeyPoolDamaged
        It is no pool of this role, or cannot be read.
    UnsafeMode
        Others could read it.
    """
    _private_files(path)
    try:
        ledger = KeyLedger(path / _LEDGER, look=True)
        try:
            _claimed(path, ledger, role)
            return PoolLook(ledger.left_to_draw(), ledger.left_to_take())
        finally:
            ledger.close()
    except sqlite3.Error as error:
        raise KeyPoolDamaged(f"{path}: {error}") from None


def _private_files(path: Path) -> KeyFiles:
    """What is in the directory of a pool. KeyPoolDamaged: it is none; UnsafeMode."""
    if not (path / _LEDGER).is_file():
        raise KeyPoolDamaged(f"{path} is no key pool")
    require_private_directory(path)
    files = KeyFiles(path)
    files.require_private()
    require_private_file(path / _LEDGER)
    return files


def _claimed(path: Path, ledger: KeyLedger, role: Role) -> bool:
    """Whether it is this role's already; no: nobody's yet. KeyPoolDamaged: another's."""
    if ledger.about("format") != _FORMAT:
        raise KeyPoolDamaged(f"{path} is no key pool of this format")
    owner = ledger.about(_OWNER)
    if owner not in (None, role.value):
        raise KeyPoolDamaged(f"{path} is {owner}'s key pool, not {role.value}'s")
    return owner is not None


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise KeyPoolBusy(f"{path.parent}: another process uses this key pool") from None
    return descriptor
